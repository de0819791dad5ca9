/* test_tile.c - a mapped tile file is the model that wrote it; any other file is an error. */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "fixture.h"
#include "model/model.h"
#include "model/tile.h"

static hone_status map_path(hone_model **out, const char *path, hone_error *err) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    const hone_status s = hone_model_map_tiles(out, fd, "x.tiles", err);
    close(fd);
    return s;
}

static void same_weight(const hone_model *a, const hone_weight *x, const hone_weight *y) {
    float p[64], q[64];
    assert_int_equal(x->n, y->n);
    assert_int_equal(x->k, y->k);
    assert_int_equal(x->dtype, y->dtype);
    assert_int_equal(x->bytes, y->bytes);
    assert_int_equal((uintptr_t)y->data % 64, 0);
    for (uint32_t r = 0; r < x->n; r++) {
        a->kernels->weight_row(x, r, p);
        a->kernels->weight_row(y, r, q);
        assert_memory_equal(p, q, x->k * sizeof(float));
    }
}

static void same_vector(const float *a, const float *b, uint32_t n) {
    assert_int_equal(a == NULL, b == NULL);
    if (a) assert_memory_equal(a, b, n * sizeof(float));
}

static void test_what_is_mapped_was_written(void **state) {
    (void)state;
    static const char *const families[] = {"llama", "qwen2", "qwen3", "gemma2"};
    for (size_t set = 0; hone_kernels_all()[set]; set++)
        for (uint32_t variant = 0; variant < 8; variant++) {
            const hone_kernels *kernels = hone_kernels_all()[set];
            if (!kernels->can_run()) continue;
            fixture_spec s = fixture_default();
            s.family = families[variant / 2];
            s.tied = variant % 2;
            s.dtype = variant % 2 ? HONE_BF16 : HONE_F32;
            char *dir = fixture_folder();
            const char *one = fixture_path(dir, "one.tiles"), *two = fixture_path(dir, "two.tiles");
            hone_error err = {0};
            hone_model *a = NULL, *b = NULL;
            assert_true(fixture_write_folder(dir, &s, 1));
            assert_int_equal(hone_model_open(&a, dir, kernels,
                                             variant % 2 ? HONE_PRECISION_SERVING : HONE_PRECISION_F32, NULL, &err),
                             HONE_OK);
            assert_int_equal(hone_model_write_tiles(a, one, &err), HONE_OK);
            if (map_path(&b, one, &err)) fail_msg("%s: %s", kernels->name, err.message);
            assert_memory_equal(&a->arch, &b->arch, sizeof(a->arch));
            assert_string_equal(a->digest, b->digest);
            assert_string_equal(a->format, b->format);
            assert_int_equal(a->parameters, b->parameters);
            assert_int_equal(a->weight_bytes, b->weight_bytes);
            assert_ptr_equal(a->kernels, b->kernels);
            assert_int_equal(a->precision, b->precision);
            same_weight(a, &a->embed, &b->embed);
            same_weight(a, &a->head.w, &b->head.w);
            same_vector(a->final_norm.weight, b->final_norm.weight, s.width);
            for (uint32_t l = 0; l < s.n_layer; l++) {
                const hone_layer *x = &a->layer[l], *y = &b->layer[l];
                for (uint32_t i = 0; i < HONE_MOD_COUNT; i++) {
                    same_weight(a, &x->linear[i].w, &y->linear[i].w);
                    same_vector(x->linear[i].bias, y->linear[i].bias, x->linear[i].w.n);
                }
                same_vector(x->attn_norm.weight, y->attn_norm.weight, s.width);
                same_vector(x->mlp_norm.weight, y->mlp_norm.weight, s.width);
                same_vector(x->attn_post_norm.weight, y->attn_post_norm.weight, s.width);
                same_vector(x->mlp_post_norm.weight, y->mlp_post_norm.weight, s.width);
                same_vector(x->q_norm.weight, y->q_norm.weight, s.head_dim);
                same_vector(x->k_norm.weight, y->k_norm.weight, s.head_dim);
            }
            /* A mapped model writes the file it came from. */
            hone_buf p = {0}, q = {0};
            assert_int_equal(hone_model_write_tiles(b, two, &err), HONE_OK);
            assert_int_equal(hone_file_read(one, &p, 0, NULL), HONE_OK);
            assert_int_equal(hone_file_read(two, &q, 0, NULL), HONE_OK);
            assert_int_equal(p.n, q.n);
            assert_memory_equal(p.data, q.data, p.n);
            hone_buf_free(&p);
            hone_buf_free(&q);
            hone_model_close(a);
            hone_model_close(b);
            fixture_remove(dir);
        }
}

/* Memory that was dirty before must not show: the file's name in a cache is the digest of the weights. */
static void test_bytes_are_a_function_of_the_weights(void **state) {
    (void)state;
    for (size_t set = 0; hone_kernels_all()[set]; set++) {
        const hone_kernels *kernels = hone_kernels_all()[set];
        if (!kernels->can_run()) continue;
        char *dir = fixture_folder();
        fixture_spec s = fixture_default();
        s.width = 40, s.vocab = 37;
        hone_buf b[2] = {{0}, {0}};
        assert_true(fixture_write_folder(dir, &s, 1));
        for (int i = 0; i < 2; i++) {
            void *dirt = hone_alloc_aligned(1, 1 << 16);
            memset(dirt, i ? 0xff : 0x55, 1 << 16);
            hone_free(dirt);
            hone_model *m = NULL;
            assert_int_equal(hone_model_open(&m, dir, kernels, HONE_PRECISION_SERVING, NULL, NULL), HONE_OK);
            assert_int_equal(hone_model_write_tiles(m, fixture_path(dir, "t"), NULL), HONE_OK);
            hone_model_close(m);
            assert_int_equal(hone_file_read(fixture_path(dir, "t"), &b[i], 0, NULL), HONE_OK);
        }
        assert_int_equal(b[0].n, b[1].n);
        if (memcmp(b[0].data, b[1].data, b[0].n) != 0) fail_msg("%s: bytes differ", kernels->name);
        hone_buf_free(&b[0]);
        hone_buf_free(&b[1]);
        fixture_remove(dir);
    }
}

static void test_broken_files(void **state) {
    (void)state;
    char *dir = fixture_folder();
    const char *path = fixture_path(dir, "x.tiles");
    fixture_spec s = fixture_default();
    s.n_layer = 1;
    hone_model *m = NULL;
    hone_buf b = {0};
    hone_error err = {0};
    assert_true(fixture_write_folder(dir, &s, 1));
    assert_int_equal(hone_model_open(&m, dir, hone_kernels_find("ref"), HONE_PRECISION_F32, NULL, &err), HONE_OK);
    assert_int_equal(hone_model_write_tiles(m, path, &err), HONE_OK);
    hone_model_close(m);
    assert_int_equal(hone_file_read(path, &b, 0, NULL), HONE_OK);

    /* Each bit of everything before the data, and the file cut off at many places. */
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    uint64_t data_at = 0;
    memcpy(&data_at, b.data + 32, 8);
    for (size_t i = 0; i < data_at; i += i < 200 ? 1 : 7) {
        char c = (char)(b.data[i] ^ (1 << i % 8));
        assert_int_equal(pwrite(fd, &c, 1, (off_t)i), 1);
        const hone_status st = hone_model_map_tiles(&m, fd, "x.tiles", &err);
        if (st == HONE_OK) fail_msg("byte %zu changed and nobody noticed", i);
        assert_null(m);
        assert_non_null(strstr(err.message, "x.tiles"));
        assert_int_equal(pwrite(fd, b.data + i, 1, (off_t)i), 1);
    }
    assert_int_equal(hone_model_map_tiles(&m, fd, "x.tiles", &err), HONE_OK);
    hone_model_close(m);
    for (size_t n = 0; n < b.n; n += n < 100 ? 1 : 997) {
        assert_int_equal(ftruncate(fd, (off_t)n), 0);
        assert_int_not_equal(hone_model_map_tiles(&m, fd, "x.tiles", &err), HONE_OK);
        assert_int_equal(pwrite(fd, b.data, b.n, 0), (ssize_t)b.n);
    }
    assert_int_equal(pwrite(fd, "x", 1, (off_t)b.n), 1);
    assert_int_not_equal(hone_model_map_tiles(&m, fd, "x.tiles", &err), HONE_OK);
    close(fd);
    hone_buf_free(&b);
    fixture_remove(dir);
}

static void test_without_memory(void **state) {
    (void)state;
    char *dir = fixture_folder();
    const char *path = fixture_path(dir, "x.tiles");
    fixture_spec s = fixture_default();
    s.n_layer = 1, s.vocab = 16;
    hone_model *m = NULL, *b = NULL;
    assert_true(fixture_write_folder(dir, &s, 1));
    assert_int_equal(hone_model_open(&m, dir, hone_kernels_find("ref"), HONE_PRECISION_F32, NULL, NULL), HONE_OK);
    const int64_t live = hone_mem_live;
    hone_status status = HONE_ERR_NOMEM;
    for (int64_t i = 0; status != HONE_OK; i++) {
        hone_mem_fail_at = i;
        hone_error err = {0};
        status = hone_model_write_tiles(m, path, &err);
        hone_mem_fail_at = -1;
        if (status != HONE_OK && status != HONE_ERR_NOMEM) fail_msg("allocation %d: %s", (int)i, err.message);
        assert_int_equal(hone_mem_live, live);
    }
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    status = HONE_ERR_NOMEM;
    for (int64_t i = 0; status != HONE_OK; i++) {
        hone_error err = {0};
        hone_mem_fail_at = i;
        status = hone_model_map_tiles(&b, fd, "x.tiles", &err);
        hone_mem_fail_at = -1;
        if (status != HONE_OK && status != HONE_ERR_NOMEM) fail_msg("allocation %d: %s", (int)i, err.message);
        hone_model_close(b);
        assert_int_equal(hone_mem_live, live);
    }
    close(fd);
    hone_model_close(m);
    fixture_remove(dir);
}

static void test_fingerprints(void **state) {
    (void)state;
    for (size_t i = 0; hone_kernels_all()[i]; i++) {
        const hone_kernels *k = hone_kernels_all()[i];
        if (!k->can_run()) continue;
        const uint64_t f = hone_tile_fingerprint(k, HONE_PRECISION_SERVING);
        assert_true(f != 0);
        assert_true(f == hone_tile_fingerprint(k, HONE_PRECISION_SERVING));
        for (size_t j = 0; j < i; j++)
            if (hone_kernels_all()[j]->can_run())
                assert_true(f != hone_tile_fingerprint(hone_kernels_all()[j], HONE_PRECISION_SERVING));
    }
}

int main(void) {
    hone_json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_mapped_was_written),
        cmocka_unit_test(test_bytes_are_a_function_of_the_weights),
        cmocka_unit_test(test_broken_files),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_fingerprints),
    };
    return cmocka_run_group_tests_name("model/tile", tests, NULL, NULL);
}
