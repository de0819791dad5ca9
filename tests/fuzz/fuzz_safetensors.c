/* fuzz_safetensors.c - any bytes as a safetensors file; what opens is written again and must open to the same tensors.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/safetensors.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    hone_json_init();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    hone_safetensors *s = NULL, *again = NULL;
    hone_error err = {0};
    if (hone_safetensors_open(&s, bytes, n, "fuzz", &err) != HONE_OK) return 0;
    const size_t count = hone_safetensors_count(s);
    hone_tensor *copy = hone_zalloc(count, sizeof(*copy));
    hone_buf out = {0};
    if (!copy) abort();
    for (size_t i = 0; i < count; i++) copy[i] = *hone_safetensors_at(s, i);
    if (hone_safetensors_write(&out, copy, count, &err) != HONE_OK) abort();
    if (hone_safetensors_open(&again, out.data, out.n, "again", &err) != HONE_OK) abort();
    for (size_t i = 0; i < count; i++) {
        const hone_tensor *t = hone_safetensors_find(again, copy[i].name);
        if (!t || t->bytes != copy[i].bytes || (t->bytes && memcmp(t->data, copy[i].data, t->bytes) != 0)) abort();
    }
    hone_safetensors_close(again);
    hone_buf_free(&out);
    hone_free(copy);
    hone_safetensors_close(s);
    return 0;
}
