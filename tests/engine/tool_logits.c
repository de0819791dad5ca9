/* tool_logits.c - `hone inspect logits` without the program around it: for the checkers that compare with outside
 * authorities.
 *
 *     tool_logits --model PATH --tokens 1,2,3 [--positions p,q] [--greedy N] [--precision f32|serving]
 *                 [--adapter DIR] [--threads N] [--kv bf16|f32] [--json] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/inspect.h"

/* Comma-separated numbers; NULL for none or a fault. */
static int32_t *numbers(const char *text, uint32_t *n) {
    size_t cap = 0, used = 0;
    int32_t *list = NULL;
    while (*text) {
        char *end;
        const long v = strtol(text, &end, 10);
        if (end == text || (*end && *end != ',') || !hone_grow(&list, &cap, used, sizeof(*list))) return NULL;
        list[used++] = (int32_t)v;
        text = *end ? end + 1 : end;
    }
    *n = (uint32_t)used;
    return list;
}

static int die(const hone_error *err) {
    fprintf(stderr, "tool_logits: %s\n", err->message);
    return 1;
}

int main(int argc, char **argv) {
    const char *model_path = NULL, *tokens = NULL, *positions = NULL, *adapter_dir = NULL, *kv = NULL;
    hone_precision precision = HONE_PRECISION_F32;
    uint32_t threads = 0;
    hone_inspection w = {0};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--json")) continue;
        if (!strcmp(argv[i], "--model"))
            model_path = value;
        else if (!strcmp(argv[i], "--tokens"))
            tokens = value;
        else if (!strcmp(argv[i], "--positions"))
            positions = value;
        else if (!strcmp(argv[i], "--adapter"))
            adapter_dir = value;
        else if (!strcmp(argv[i], "--greedy"))
            w.n_greedy = (uint32_t)strtoul(value, NULL, 10);
        else if (!strcmp(argv[i], "--kv"))
            kv = value;
        else if (!strcmp(argv[i], "--threads"))
            threads = (uint32_t)strtoul(value, NULL, 10);
        else if (!strcmp(argv[i], "--precision"))
            precision = strcmp(value, "serving") ? HONE_PRECISION_F32 : HONE_PRECISION_SERVING;
        else
            return fprintf(stderr, "tool_logits: unknown option %s\n", argv[i]), 2;
        i++;
    }
    if (!model_path || !tokens) return fprintf(stderr, "tool_logits: --model and --tokens are needed\n"), 2;
    hone_error err = {0};
    hone_pool *pool;
    hone_model *model;
    hone_adapter *adapter = NULL;
    int32_t *list = numbers(tokens, &w.n_token);
    uint32_t n_position = 0;
    int32_t *at = positions ? numbers(positions, &n_position) : NULL;
    if (!list) return fprintf(stderr, "tool_logits: --tokens is not a list of numbers\n"), 2;
    if (hone_pool_open(&pool, threads, &err) != HONE_OK) return die(&err);
    if (hone_model_open(&model, model_path, hone_kernels_best(), precision, pool, &err) != HONE_OK) return die(&err);
    if (adapter_dir && hone_adapter_read(&adapter, adapter_dir, &model->arch, &err) != HONE_OK) return die(&err);
    const uint32_t v = model->arch.vocab;
    w.tokens = list;
    w.position = (const uint32_t *)at;
    w.n_position = n_position;
    w.adapter = adapter;
    w.kv_type = !kv                   ? hone_kv_type_for(precision)
                : !strcmp(kv, "f32")  ? HONE_KV_F32
                : !strcmp(kv, "int8") ? HONE_KV_INT8
                                      : HONE_KV_BF16;
    float *logits = hone_zalloc(n_position ? n_position : 1, (size_t)v * sizeof(float));
    int32_t *greedy = hone_zalloc(w.n_greedy + 1, sizeof(*greedy));
    if (!logits || !greedy || hone_inspect_logits(model, pool, &w, logits, greedy, &err) != HONE_OK) return die(&err);
    printf("{\"positions\": [");
    for (uint32_t i = 0; i < n_position; i++) printf("%s%u", i ? ", " : "", w.position[i]);
    printf("], \"logits\": [");
    for (uint32_t i = 0; i < n_position; i++) {
        printf("%s[", i ? ", " : "");
        for (uint32_t j = 0; j < v; j++) printf("%s%.9g", j ? ", " : "", (double)logits[(size_t)i * v + j]);
        printf("]");
    }
    printf("]");
    if (w.n_greedy) {
        printf(", \"tokens\": [");
        for (uint32_t i = 0; i < w.n_greedy; i++) printf("%s%d", i ? ", " : "", greedy[i]);
        printf("]");
    }
    printf("}\n");
    hone_free(greedy);
    hone_free(logits);
    hone_free(at);
    hone_free(list);
    hone_adapter_free(adapter);
    hone_model_close(model);
    hone_pool_close(pool);
    return 0;
}
