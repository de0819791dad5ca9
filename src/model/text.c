/* text.c - tokenizer and template of a model, together; the contract is in text.h. */
#include "model/text.h"

#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "model/gguf.h"

static hone_status open_tokenizer(hone_tokenizer **out, const char *path, hone_error *err) {
    struct stat st;
    if (stat(path, &st) != 0) return hone_fail(err, HONE_ERR_NOT_FOUND, "%s: no such file or folder", path);
    if (S_ISDIR(st.st_mode)) return hone_tokenizer_open_folder(out, path, err);
    hone_gguf *g;
    hone_status status = hone_gguf_open_path(&g, path, err);
    if (status == HONE_OK) status = hone_tokenizer_open_gguf(out, g, err);
    hone_gguf_close(g);
    return status;
}

static json_t *special_tokens_of(const hone_tokenizer *t) {
    static const char *const name[HONE_ROLE_COUNT] = {[HONE_ROLE_BOS] = "bos_token",
                                                      [HONE_ROLE_EOS] = "eos_token",
                                                      [HONE_ROLE_PAD] = "pad_token",
                                                      [HONE_ROLE_UNK] = "unk_token"};
    json_t *object = json_object();
    for (int role = 0; object && role < HONE_ROLE_COUNT; role++) {
        size_t n;
        const int32_t id = hone_tokenizer_role(t, (hone_token_role)role);
        const char *text = id == HONE_NO_TOKEN ? NULL : hone_tokenizer_text(t, id, &n);
        if (text) json_object_set_new(object, name[role], json_stringn(text, n));
    }
    return object;
}

hone_status hone_text_open(hone_text **out, const char *path, hone_error *err) {
    *out = NULL;
    hone_text *t = hone_zalloc(1, sizeof(*t));
    if (!t) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a tokenizer");
    hone_status status = open_tokenizer(&t->tokenizer, path, err);
    if (status != HONE_OK) goto fail;
    const char *source = hone_tokenizer_template(t->tokenizer, NULL);
    if (source) {
        status = hone_template_compile(&t->chat, source, strlen(source), err);
        if (status != HONE_OK) {
            hone_fail_within(err, status, "%s: chat template: ", path);
            goto fail;
        }
    }
    size_t n;
    const int32_t *end = hone_tokenizer_ends(t->tokenizer, &n);
    t->special_tokens = special_tokens_of(t->tokenizer);
    t->end = hone_zalloc(n ? n : 1, sizeof(*t->end));
    if (!t->special_tokens || !t->end) {
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory for a tokenizer");
        goto fail;
    }
    if (n) memcpy(t->end, end, n * sizeof(*end));
    t->n_end = (uint32_t)n;
    *out = t;
    return HONE_OK;
fail:
    hone_text_close(t);
    return status;
}

void hone_text_close(hone_text *t) {
    if (!t) return;
    json_decref(t->special_tokens);
    hone_template_free(t->chat);
    hone_tokenizer_close(t->tokenizer);
    hone_free(t->end);
    hone_free(t);
}

hone_status hone_text_chat(const hone_text *t, const hone_chat_input *in, hone_ids *out, hone_error *err) {
    if (!t->chat) return hone_fail(err, HONE_ERR_UNSUPPORTED, "the model has no chat template: use /v1/completions");
    hone_chat_input with = *in;
    if (!with.special_tokens) with.special_tokens = t->special_tokens;
    hone_buf text = {0};
    hone_status status = hone_chat_render(t->chat, &with, NULL, &text, err);
    if (status == HONE_OK) status = hone_tokenizer_encode(t->tokenizer, hone_buf_str(&text), text.n, 0, out, err);
    hone_buf_free(&text);
    return status;
}
