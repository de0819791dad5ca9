/* fuzz_adapter.c - any bytes as an adapter's two files, in float form and laid for serving: the length of the config in
 * two bytes, the config, the tensors. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../engine/tiny.h"
#include "base/mem.h"
#include "model/adapter.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static hone_model *model;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    hone_json_init();
    tiny_options o = tiny_defaults();
    o.width = 32, o.n_head = 2, o.n_kv_head = 1, o.head_dim = 16, o.mlp_width = 32, o.vocab = 64;
    model = tiny_model(hone_kernels_best(), &o);
    if (!model) abort();
    return 0;
}

/* Everything that is said to be there is there. */
static void look(const hone_lora *lora, bool embed) {
    volatile float sum = 0;
    const size_t a = (size_t)lora->rank * lora->k, b = (size_t)lora->rank * lora->n;
    if (lora->rank == 0) return;
    if (!isfinite(lora->scale)) return; /* alpha is any number */
    if (lora->a) {
        sum += lora->a[0] + lora->a[a - 1] + lora->b[0] + lora->b[b - 1];
    } else {
        const size_t one = hone_dtype_block_bytes(lora->type), panels = (lora->n + HONE_PANEL - 1) / HONE_PANEL;
        const uint8_t *at_a = lora->laid_a, *at_b = lora->laid_b;
        if (embed && lora->type != HONE_F32) abort();
        sum += (float)(at_a[0] + at_a[a * one - 1] + at_b[0] + at_b[panels * HONE_PANEL * lora->rank * one - 1]);
    }
    for (uint32_t i = 0; lora->gain && i < lora->n; i++) sum += lora->gain[i];
    (void)sum;
}

static void look_at_all(hone_adapter *a, hone_status st, const hone_error *err) {
    static const int32_t prompt[] = {1, 2, 3, 4};
    if (st != HONE_OK && (err->code == HONE_OK || !err->message[0])) abort(); /* an error without words */
    if (st != HONE_OK) return;
    for (uint32_t l = 0; l < a->n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) look(&a->lora[l][m], false);
    look(&a->embed, true);
    look(&a->head, false);
    if (hone_adapter_applies_from(a, prompt, 4) > 3 && a->n_invocation == 0) abort();
    hone_adapter_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < 2) return 0;
    const size_t config = (size_t)bytes[0] | (size_t)bytes[1] << 8;
    if (config > n - 2) return 0;
    const uint8_t *tensors = bytes + 2 + config;
    hone_adapter *a = NULL;
    hone_error err = {0};
    hone_status st = hone_adapter_read_bytes(&a, bytes + 2, config, tensors, n - 2 - config, &model->arch, &err);
    if (st == HONE_OK && (st = hone_adapter_bind(a, model, &err)) != HONE_OK) hone_adapter_free(a);
    look_at_all(a, st, &err);
    err = (hone_error){0};
    st = hone_adapter_load(&a, bytes + 2, config, tensors, n - 2 - config, model, &err);
    look_at_all(a, st, &err);
    return 0;
}
