/* fuzz_gguf.c - any bytes as a GGUF file: opened, every key and tensor looked at, and read as a model's record. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/family/family.h"
#include "model/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void look_at_keys(const hone_gguf *g) {
    static const char *const keys[] = {"general.architecture",  "general.alignment",         "tokenizer.ggml.tokens",
                                       "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "llama.block_count"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        hone_gguf_text t;
        int64_t v;
        double r;
        bool b;
        volatile size_t seen = 0;
        if (hone_gguf_get_text(g, keys[i], &t, NULL) == HONE_OK)
            for (size_t k = 0; k < t.n; k++) seen += (uint8_t)t.text[k];
        hone_gguf_get_int(g, keys[i], INT64_MIN, INT64_MAX, &v, NULL);
        hone_gguf_get_real(g, keys[i], &r, NULL);
        hone_gguf_get_bool(g, keys[i], &b, NULL);
        hone_gguf_array a;
        if (hone_gguf_get_array(g, keys[i], HONE_GGUF_TEXTS, &a, NULL) == HONE_OK)
            while (hone_gguf_next_text(&a, &t))
                for (size_t k = 0; k < t.n; k++) seen += (uint8_t)t.text[k];
        if (hone_gguf_get_array(g, keys[i], HONE_GGUF_INTS, &a, NULL) == HONE_OK)
            while (hone_gguf_next_int(&a, &v)) seen += (size_t)v;
        if (hone_gguf_get_array(g, keys[i], HONE_GGUF_REALS, &a, NULL) == HONE_OK)
            while (hone_gguf_next_real(&a, &r)) seen += r > 0;
        (void)seen;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    hone_gguf *g = NULL;
    hone_error err = {0};
    if (hone_gguf_open(&g, bytes, n, "fuzz", &err) == HONE_OK) {
        volatile size_t seen = 0;
        look_at_keys(g);
        for (uint64_t i = 0; i < hone_gguf_tensor_count(g); i++) {
            const hone_gguf_tensor *t = hone_gguf_tensor_at(g, i);
            if (hone_gguf_tensor_find(g, t->name) != t) abort();
            for (size_t k = 0; k < t->bytes; k++) seen += ((const uint8_t *)t->data)[k];
        }
        (void)seen;
        hone_arch *arch = hone_zalloc(1, sizeof(*arch));
        hone_layout layout;
        if (arch) hone_family_from_gguf(arch, &layout, g, &err);
        hone_free(arch);
    }
    hone_gguf_close(g);
    return 0;
}
