/* test_adapter.c - adapters made, written, read back; PEFT's selection rules; options and tensors that are refused. */
#include "test.h"

#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "base/mem.h"
#include "fixture.h"
#include "model/adapter.h"
#include "model/safetensors.h"
#include "shared.h"

static hone_arch *tiny(void) {
    hone_arch *a = hone_zalloc(1, sizeof(*a));
    a->vocab = 96, a->width = 12, a->n_layer = 3, a->n_head = 4, a->n_kv_head = 2, a->head_dim = 5, a->mlp_width = 20;
    a->mlp_gated = true;
    return a;
}

static hone_adapter_config all_modules(void) {
    hone_adapter_config c = {.rank = 4, .alpha = 8, .seed = 11};
    for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) c.target[m] = true;
    return c;
}

static void test_new(void **state) {
    (void)state;
    hone_arch *arch = tiny();
    hone_adapter_config c = all_modules();
    hone_adapter *a = NULL, *b = NULL;
    hone_error err = {0};
    json_t *ranks = json_pack("{s:i, s:i}", "q_proj", 2, "layers\\.1\\.mlp\\.(up|down)_proj", 7),
           *alphas = json_pack("{s:f}", "mlp.gate_proj", 3.5);
    c.rank_pattern = ranks, c.alpha_pattern = alphas, c.rslora = true;
    assert_int_equal(hone_adapter_new(&a, arch, &c, &err), HONE_OK);
    assert_int_equal(a->max_rank, 7);
    assert_int_equal(a->lora[0][HONE_MOD_Q].rank, 2);
    assert_int_equal(a->lora[1][HONE_MOD_UP].rank, 7);
    assert_int_equal(a->lora[2][HONE_MOD_UP].rank, 4);
    assert_true(a->lora[0][HONE_MOD_Q].scale == (float)(8 / sqrt(2)));
    assert_true(a->lora[0][HONE_MOD_GATE].scale == 1.75f);

    double sum = 0, most = 0;
    const hone_lora *down = &a->lora[1][HONE_MOD_DOWN];
    for (size_t i = 0; i < 7 * 20; i++) sum += (double)down->a[i], most = fmax(most, fabs((double)down->a[i]));
    assert_true(most <= 1 / sqrt(20) && most > 0.9 / sqrt(20));
    assert_true(fabs(sum / 140) < 0.05);
    for (size_t i = 0; i < 7 * 12; i++) assert_true(down->b[i] == 0.0f);

    assert_int_equal(hone_adapter_new(&b, arch, &c, &err), HONE_OK);
    assert_memory_equal(down->a, b->lora[1][HONE_MOD_DOWN].a, 140 * sizeof(float));
    hone_adapter_free(b);
    c.seed++;
    assert_int_equal(hone_adapter_new(&b, arch, &c, &err), HONE_OK);
    assert_memory_not_equal(down->a, b->lora[1][HONE_MOD_DOWN].a, 140 * sizeof(float));
    hone_adapter_free(b);
    hone_adapter_free(a);
    json_decref(ranks);
    json_decref(alphas);

    c = all_modules(), c.rank = 0;
    assert_int_equal(hone_adapter_new(&a, arch, &c, &err), HONE_ERR_ARG);
    c = all_modules(), memset(c.target, 0, sizeof(c.target));
    assert_int_equal(hone_adapter_new(&a, arch, &c, &err), HONE_ERR_ARG);
    c = all_modules(), c.alpha = NAN;
    assert_int_equal(hone_adapter_new(&a, arch, &c, &err), HONE_ERR_ARG);
    hone_free(arch);
}

static void test_written_is_read(void **state) {
    (void)state;
    hone_arch *arch = tiny();
    char *dir = fixture_folder();
    hone_adapter_config c = all_modules();
    json_t *ranks = json_pack("{s:i, s:i}", "v_proj", 3, "k_proj", 2);
    c.rank_pattern = ranks;
    c.target[HONE_MOD_O] = false;
    hone_adapter *a = NULL, *b = NULL;
    hone_error err = {0};
    assert_int_equal(hone_adapter_new(&a, arch, &c, &err), HONE_OK);
    for (uint32_t i = 0; i < 2 * 12; i++)
        a->lora[2][HONE_MOD_K].a[i] = (float)i, a->lora[2][HONE_MOD_K].b[i % 20] = -(float)i;
    strcpy(a->base, "some/base");
    const char *one = fixture_path(dir, "one"), *two = fixture_path(dir, "two");
    assert_int_equal(hone_adapter_write(a, one, &err), HONE_OK);
    if (hone_adapter_read(&b, one, arch, &err)) fail_msg("%s", err.message);
    assert_string_equal(b->base, "some/base");
    assert_string_equal(a->digest, b->digest);
    assert_int_equal(a->bytes, b->bytes);
    assert_false(b->target[HONE_MOD_O]);
    assert_int_equal(b->lora[0][HONE_MOD_O].rank, 0);
    for (uint32_t l = 0; l < 3; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
            const hone_lora *x = &a->lora[l][m], *y = &b->lora[l][m];
            assert_int_equal(x->rank, y->rank);
            assert_true(x->scale == y->scale);
        }
    assert_memory_equal(a->lora[2][HONE_MOD_K].a, b->lora[2][HONE_MOD_K].a, 2 * 12 * sizeof(float));
    assert_memory_equal(a->lora[2][HONE_MOD_K].b, b->lora[2][HONE_MOD_K].b, 2 * 10 * sizeof(float));
    /* Written again, both files have the same bytes. */
    assert_int_equal(hone_adapter_write(b, two, &err), HONE_OK);
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors"};
    for (int i = 0; i < 2; i++) {
        hone_buf p = {0}, q = {0};
        assert_int_equal(hone_file_read(fixture_path(one, files[i]), &p, 0, &err), HONE_OK);
        assert_int_equal(hone_file_read(fixture_path(two, files[i]), &q, 0, &err), HONE_OK);
        assert_int_equal(p.n, q.n);
        assert_memory_equal(p.data, q.data, p.n);
        hone_buf_free(&p);
        hone_buf_free(&q);
    }
    /* Gradients under the same names. */
    float *of[2][3 * HONE_MOD_COUNT] = {{0}};
    for (uint32_t i = 0; i < 3 * HONE_MOD_COUNT; i++) {
        of[0][i] = b->lora[i / HONE_MOD_COUNT][i % HONE_MOD_COUNT].a;
        of[1][i] = b->lora[i / HONE_MOD_COUNT][i % HONE_MOD_COUNT].b;
    }
    char digest[HONE_DIGEST_TEXT];
    const char *grad = fixture_path(dir, "grad.safetensors");
    assert_int_equal(hone_adapter_write_tensors(a, of[0], of[1], grad, &err), HONE_OK);
    assert_int_equal(hone_digest_file(grad, digest, NULL, &err), HONE_OK);
    assert_string_equal(digest, a->digest);
    hone_adapter_free(a);
    hone_adapter_free(b);
    json_decref(ranks);
    hone_free(arch);
    fixture_remove(dir);
}

/* An adapter file with the matrices that pick names, all numbers 0.5, as type. */
static void tensors_for(hone_buf *out, const hone_arch *arch, bool (*pick)(uint32_t l, uint32_t m), uint32_t rank,
                        hone_dtype type) {
    static uint8_t data[4096];
    static char name[3 * HONE_MOD_COUNT * 2][128];
    hone_tensor t[3 * HONE_MOD_COUNT * 2];
    const uint32_t d = arch->width, q = arch->n_head * arch->head_dim, kv = arch->n_kv_head * arch->head_dim;
    const uint32_t n[] = {q, kv, kv, d, 20, 20, d}, k[] = {d, d, d, q, d, d, 20};
    for (size_t i = 0; i < sizeof(data); i += 4) {
        const uint16_t half = type == HONE_F16 ? 0x3800 : 0x3f00;
        const float f = 0.5f;
        memcpy(data + i, &half, 2);
        memcpy(data + i + 2, &half, 2);
        if (type == HONE_F32) memcpy(data + i, &f, 4);
    }
    size_t count = 0;
    for (uint32_t l = 0; l < arch->n_layer; l++)
        for (uint32_t m = 0; m < HONE_MOD_COUNT; m++)
            for (uint32_t ab = 0; ab < 2 && pick(l, m); ab++) {
                snprintf(name[count], 128, "base_model.model.model.layers.%u.%s.lora_%c.weight", l,
                         hone_module_path((hone_module)m), ab ? 'B' : 'A');
                t[count] = (hone_tensor){.name = name[count], .dtype = type, .n_dim = 2, .data = data};
                t[count].shape[0] = ab ? n[m] : rank;
                t[count].shape[1] = ab ? rank : k[m];
                t[count].bytes = (size_t)(t[count].shape[0] * t[count].shape[1]) * hone_dtype_block_bytes(type);
                count++;
            }
    assert_int_equal(hone_safetensors_write(out, t, count, NULL), HONE_OK);
}

static bool every(uint32_t l, uint32_t m) {
    (void)l, (void)m;
    return true;
}
static bool q_and_v(uint32_t l, uint32_t m) {
    (void)l;
    return m == HONE_MOD_Q || m == HONE_MOD_V;
}
static bool q_of_1(uint32_t l, uint32_t m) {
    return l == 1 && m == HONE_MOD_Q;
}
static bool mlp(uint32_t l, uint32_t m) {
    (void)l;
    return m >= HONE_MOD_GATE;
}
static bool all_but_q_of_0(uint32_t l, uint32_t m) {
    return l != 0 || m != HONE_MOD_Q;
}

static hone_status read_with(const char *config, bool (*pick)(uint32_t, uint32_t), hone_dtype type, hone_error *err) {
    hone_arch *arch = tiny();
    hone_buf tensors = {0};
    hone_adapter *a = NULL;
    char text[1024];
    snprintf(text, sizeof(text), "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 4%s%s}", *config ? ", " : "",
             config);
    tensors_for(&tensors, arch, pick, 2, type);
    const hone_status s = hone_adapter_read_bytes(&a, text, strlen(text), tensors.data, tensors.n, arch, err);
    if (s == HONE_OK)
        for (uint32_t l = 0; l < 3; l++)
            for (uint32_t m = 0; m < HONE_MOD_COUNT; m++) {
                assert_int_equal(a->lora[l][m].rank, pick(l, m) ? 2 : 0);
                if (pick(l, m)) assert_true(a->lora[l][m].a[3] == 0.5f && a->lora[l][m].b[1] == 0.5f);
            }
    hone_adapter_free(a);
    hone_buf_free(&tensors);
    hone_free(arch);
    return s;
}

static void test_selection(void **state) {
    (void)state;
    static const struct {
        const char *config;
        bool (*pick)(uint32_t, uint32_t);
    } table[] = {
        {"\"target_modules\": \"all-linear\"", every},
        {"\"target_modules\": [\"q_proj\", \"v_proj\"]", q_and_v},
        {"\"target_modules\": \".*self_attn\\\\.(q|v)_proj\"", q_and_v},
        {"\"target_modules\": [\"q_proj\"], \"layers_to_transform\": [1]", q_of_1},
        {"\"target_modules\": [\"q_proj\"], \"layers_to_transform\": 1, \"layers_pattern\": \"layers\"", q_of_1},
        {"\"target_modules\": [\"model.layers.1.self_attn.q_proj\"]", q_of_1},
        {"\"target_modules\": [\"layers.1.self_attn.q_proj\", \"nothing\"]", q_of_1},
        {"\"target_modules\": \"all-linear\", \"exclude_modules\": \".*self_attn.*\"", mlp},
        {"\"target_modules\": \"all-linear\", \"exclude_modules\": [\"q_proj\", \"k_proj\", \"v_proj\", \"o_proj\"]",
         mlp},
        {"\"target_modules\": \"all-linear\", \"exclude_modules\": [\"layers.0.self_attn.q_proj\"]", all_but_q_of_0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        for (uint32_t t = HONE_F32; t <= HONE_BF16; t++) {
            hone_error err = {0};
            if (read_with(table[i].config, table[i].pick, (hone_dtype)t, &err))
                fail_msg("%s: %s", table[i].config, err.message);
        }
}

static void test_refusals(void **state) {
    (void)state;
#define ALL "\"target_modules\": \"all-linear\""
    static const struct {
        const char *config;
        hone_status status;
        const char *says;
    } table[] = {
        {ALL ", \"use_dora\": true", HONE_ERR_FORMAT, "q_proj.lora_magnitude_vector is missing"},
        {ALL ", \"use_dora\": true, \"alora_invocation_tokens\": [1]", HONE_ERR_UNSUPPORTED, "use_dora with"},
        {ALL ", \"modules_to_save\": [\"lm_head\"]", HONE_ERR_UNSUPPORTED, "modules_to_save"},
        {ALL ", \"bias\": \"all\"", HONE_ERR_UNSUPPORTED, "bias all"},
        {ALL ", \"fan_in_fan_out\": true", HONE_ERR_UNSUPPORTED, "fan_in_fan_out"},
        {ALL ", \"lora_bias\": true", HONE_ERR_UNSUPPORTED, "lora_bias"},
        {ALL ", \"layer_replication\": [[0, 2]]", HONE_ERR_UNSUPPORTED, "layer_replication"},
        {ALL ", \"alora_invocation_tokens\": [1]", HONE_OK, ""},
        {ALL ", \"alora_invocation_tokens\": [1, 4000000]", HONE_ERR_FORMAT, "element 1 is no token"},
        {ALL ", \"alora_invocation_tokens\": [-1]", HONE_ERR_FORMAT, "element 0 is no token"},
        {ALL ", \"alora_invocation_tokens\": \"a\"", HONE_ERR_FORMAT, "must be a list"},
        {"\"target_modules\": [\"lm_head\"]", HONE_ERR_FORMAT, "lm_head.lora_A.weight is missing"},
        {"\"target_modules\": [\"embed_tokens\"]", HONE_ERR_FORMAT, "embed_tokens.lora_embedding_A is missing"},
        {"\"target_modules\": [\"embed_tokens\"], \"use_dora\": true", HONE_ERR_UNSUPPORTED, "embed_tokens with"},
        {ALL ", \"trainable_token_indices\": [1]", HONE_ERR_UNSUPPORTED, "trainable_token_indices"},
        {ALL ", \"megatron_config\": {\"a\": 1}", HONE_ERR_UNSUPPORTED, "megatron_config"},
        {ALL ", \"loftq_config\": {\"bits\": 4}", HONE_ERR_UNSUPPORTED, "loftq_config"},
        {ALL ", \"init_lora_weights\": \"pissa\"", HONE_ERR_UNSUPPORTED, "pissa"},
        {ALL ", \"an_option_of_tomorrow\": 3", HONE_ERR_UNSUPPORTED, "an_option_of_tomorrow"},
        {ALL ", \"task_type\": \"SEQ_CLS\"", HONE_ERR_UNSUPPORTED, "SEQ_CLS"},
        {ALL ", \"rank_pattern\": {\"q_proj\": 0}", HONE_ERR_FORMAT, "rank of model.layers.0.self_attn.q_proj"},
        {ALL ", \"rank_pattern\": {\"q_proj\": 3}", HONE_ERR_FORMAT,
         "is 2 x 12, this model and the adapter's rank ask for 3"},
        {ALL ", \"rank_pattern\": {\"(q_proj\": 3}", HONE_ERR_FORMAT, "no regular expression"},
        {ALL ", \"rank_pattern\": {\"(.*)*x(.*)*y(.*)*z\": 3}", HONE_OK, ""},
        {"\"target_modules\": \"(([a-z._]+)+)+[!-)]\"", HONE_ERR_LIMIT, "too many steps"},
        {"\"target_modules\": [\"q_proj\"]", HONE_ERR_FORMAT, "lands nowhere"},
        {"\"target_modules\": [\"w1\"]", HONE_ERR_FORMAT, "no module of this model"},
        {"\"target_modules\": null", HONE_ERR_FORMAT, "target_modules"},
        {ALL ", \"lora_dropout\": 1.5", HONE_ERR_FORMAT, "lora_dropout"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        hone_error err = {0};
        const hone_status s = read_with(table[i].config, every, HONE_F32, &err);
        if (s != table[i].status || !strstr(err.message, table[i].says))
            fail_msg("%s: wanted %d \"%s\", got %d \"%s\"", table[i].config, table[i].status, table[i].says, s,
                     err.message);
    }
    hone_error err = {0};
    assert_int_equal(read_with(ALL, all_but_q_of_0, HONE_F32, &err), HONE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "layers.0.self_attn.q_proj.lora_A.weight is missing"));

    /* PEFT's adapter of a fused matrix is another thing than three of its parts. */
    hone_arch *fused = tiny();
    hone_adapter_config c = all_modules();
    hone_adapter *a = NULL;
    fused->no_adapter = 1u << HONE_MOD_K;
    assert_int_equal(hone_adapter_new(&a, fused, &c, &err), HONE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "k_proj"));
    c.target[HONE_MOD_K] = false;
    assert_int_equal(hone_adapter_new(&a, fused, &c, &err), HONE_OK);
    hone_adapter_free(a);
    hone_free(fused);
#undef ALL
}

static void test_without_memory(void **state) {
    (void)state;
    hone_arch *arch = tiny();
    char *dir = fixture_folder();
    hone_adapter_config c = all_modules();
    hone_adapter *a = NULL, *b = NULL;
    c.target[HONE_MOD_UP] = c.target[HONE_MOD_DOWN] = false;
    const int64_t live = hone_mem_live;
    hone_status status = HONE_ERR_NOMEM;
    for (int64_t i = 0; status != HONE_OK; i++) {
        hone_error err = {0};
        hone_mem_fail_at = i;
        status = hone_adapter_new(&a, arch, &c, &err);
        if (status == HONE_OK) status = hone_adapter_write(a, dir, &err);
        if (status == HONE_OK) status = hone_adapter_read(&b, dir, arch, &err);
        hone_mem_fail_at = -1;
        if (status != HONE_OK && status != HONE_ERR_NOMEM) fail_msg("allocation %d: %s", (int)i, err.message);
        hone_adapter_free(a);
        hone_adapter_free(b);
        a = b = NULL;
        assert_int_equal(hone_mem_live, live);
    }
    hone_free(arch);
    fixture_remove(dir);
}

static void test_the_oracles_adapters(void **state) {
    (void)state;
    static const char *const names[][2] = {{"llama_gqa_tied", "llama_tied"},
                                           {"llama_rslora_clip", "llama_tied"},
                                           {"qwen2_bias", "qwen2_tied"},
                                           {"gemma2", "gemma2"},
                                           {"qwen3_ranks", "qwen3"}};
    char shared[512];
    if (!shared_path(shared, sizeof(shared), "oracle")) skip();
    hone_model_info *info = hone_zalloc(1, sizeof(*info));
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char path[600], digest[HONE_DIGEST_TEXT];
        hone_adapter *a = NULL;
        hone_error err = {0};
        char *out = fixture_folder();
        snprintf(path, sizeof(path), "%s/families/%s", shared, names[i][1]);
        assert_int_equal(hone_model_inspect(info, path, &err), HONE_OK);
        snprintf(path, sizeof(path), "%s/lora/%s/final", shared, names[i][0]);
        if (hone_adapter_read(&a, path, &info->arch, &err)) fail_msg("%s", err.message);
        /* Written by the reference implementation, and by us, the same bytes. */
        snprintf(digest, sizeof(digest), "%s", a->digest);
        assert_int_equal(hone_adapter_write(a, out, &err), HONE_OK);
        assert_string_equal(a->digest, digest);
        hone_adapter_free(a);
        fixture_remove(out);
    }
    hone_free(info);
}

int main(void) {
    hone_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),
        cmocka_unit_test(test_written_is_read),
        cmocka_unit_test(test_selection),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_the_oracles_adapters),
    };
    return cmocka_run_group_tests_name("model/adapter", tests, NULL, NULL);
}
