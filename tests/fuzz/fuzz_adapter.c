/* fuzz_adapter.c - any bytes as an adapter's two files: the length of the config in two bytes, the config, the tensors.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/adapter.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static hone_arch *arch;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    hone_json_init();
    arch = hone_zalloc(1, sizeof(*arch));
    if (!arch) abort();
    arch->vocab = 96, arch->width = 4, arch->n_layer = 2, arch->n_head = 2, arch->n_kv_head = 1, arch->head_dim = 2;
    arch->mlp_width = 6, arch->mlp_gated = true;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < 2) return 0;
    const size_t config = (size_t)bytes[0] | (size_t)bytes[1] << 8;
    if (config > n - 2) return 0;
    hone_adapter *a = NULL;
    hone_error err = {0};
    if (hone_adapter_read_bytes(&a, bytes + 2, config, bytes + 2 + config, n - 2 - config, arch, &err) == HONE_OK) {
        volatile float sum = 0;
        for (uint32_t l = 0; l < a->n_layer; l++)
            for (uint32_t m = 0; m < HONE_MOD_COUNT; m++)
                for (uint32_t i = 0; i < a->lora[l][m].rank * 2; i++) sum += a->lora[l][m].a[i] + a->lora[l][m].b[i];
        (void)sum;
    } else if (err.code == HONE_OK || !err.message[0]) {
        abort(); /* an error without words */
    }
    hone_adapter_free(a);
    return 0;
}
