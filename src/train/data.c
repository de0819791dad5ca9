/* data.c - files of rows; the contract is in data.h.
 * Order: drafts, rows of tokens and of texts, one line, faults, files, showing. */
#include "train/data.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "train/data_parts.h"

#define MAX_LINE_BYTES ((size_t)64 << 20) /* a row of a million tokens is a tenth of it */
#define MAX_ROWS UINT32_MAX

/* ---- Drafts ---- */

void data_draft_free(data_draft *d) {
    hone_ids_free(&d->ids);
    hone_buf_free(&d->trained);
    *d = (data_draft){0};
}

hone_status data_draft_add(data_draft *d, const int32_t *id, size_t n, bool trained, hone_error *err) {
    for (size_t i = 0; i < n; i++)
        if (!hone_ids_add(&d->ids, id[i]) || !hone_buf_char(&d->trained, trained))
            return hone_fail(err, HONE_ERR_NOMEM, "no memory for a row");
    return HONE_OK;
}

hone_status data_commit(const data_line *at, data_draft *d) {
    const size_t n = d->ids.n;
    hone_train_data *data = at->data;
    if (n > at->rules->max_length)
        return hone_fail(at->fault, HONE_ERR_FORMAT,
                         "%zu tokens, and at most %u fit: shorten the row (nothing is truncated unasked)", n,
                         at->rules->max_length);
    hone_train_row row = {.n = (uint32_t)n, .line = at->line};
    for (size_t t = 0; t < n; t++) {
        if (d->ids.id[t] < 0 || (uint32_t)d->ids.id[t] >= at->rules->vocab)
            return hone_fail(at->fault, HONE_ERR_FORMAT, "token %d is outside the model's vocabulary of %u",
                             (int)d->ids.id[t], at->rules->vocab);
        if (t == 0) d->trained.data[0] = 0; /* nothing predicts the first token */
        if (!d->trained.data[t]) continue;
        row.n_trained++;
        row.n_run = (uint32_t)t;
    }
    if (row.n_trained == 0) return hone_fail(at->fault, HONE_ERR_FORMAT, "nothing to train in this row");
    if (data->n >= MAX_ROWS) return hone_fail(at->fault, HONE_ERR_LIMIT, "more than %u rows", MAX_ROWS);
    if (!hone_grow(&data->row, &data->cap, data->n, sizeof(*data->row)))
        return hone_fail(at->fault, HONE_ERR_NOMEM, "no memory for row %zu", data->n);
    row.token = hone_zalloc(n, sizeof(*row.token));
    row.trained = hone_zalloc(n, 1);
    if (!row.token || !row.trained) {
        hone_free(row.token);
        hone_free(row.trained);
        return hone_fail(at->fault, HONE_ERR_NOMEM, "no memory for row %zu", data->n);
    }
    memcpy(row.token, d->ids.id, n * sizeof(*row.token));
    memcpy(row.trained, d->trained.data, n);
    data->row[data->n++] = row;
    data->n_tokens += row.n;
    data->n_trained += row.n_trained;
    if (row.n > data->longest) data->longest = row.n;
    if (row.n_run > data->longest_run) data->longest_run = row.n_run;
    data_draft_free(d);
    return HONE_OK;
}

void hone_data_free(hone_train_data *data) {
    for (size_t i = 0; i < data->n; i++) {
        hone_free(data->row[i].token);
        hone_free(data->row[i].trained);
    }
    hone_free(data->row);
    *data = (hone_train_data){0};
}

/* ---- Rows of tokens and of texts ---- */

hone_status data_known_keys(const json_t *object, const char *what, const char *const *known, hone_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key) != 0) i++;
        if (!known[i]) return hone_fail(err, HONE_ERR_FORMAT, "unknown key \"%.60s\" in %s", key, what);
    }
    return HONE_OK;
}

static hone_status tokens_row(const data_line *at, const json_t *row) {
    static const char *const known[] = {"tokens", "labels", "id", "metadata", NULL};
    const json_t *tokens = json_object_get(row, "tokens"), *labels = json_object_get(row, "labels");
    hone_status st = data_known_keys(row, "a row of tokens", known, at->fault);
    if (st != HONE_OK) return st;
    if (!json_is_array(tokens) || !json_is_array(labels) || json_array_size(tokens) != json_array_size(labels))
        return hone_fail(at->fault, HONE_ERR_FORMAT, "\"tokens\" and \"labels\" must be arrays of one length");
    data_draft d = {0};
    const size_t n = json_array_size(tokens);
    for (size_t t = 0; st == HONE_OK && t < n; t++) {
        const json_t *token = json_array_get(tokens, t), *label = json_array_get(labels, t);
        if (!json_is_integer(token) || !json_is_integer(label)) {
            st = hone_fail(at->fault, HONE_ERR_FORMAT, "element %zu of \"tokens\" or \"labels\" is no integer", t);
            break;
        }
        const json_int_t id = json_integer_value(token), l = json_integer_value(label);
        if (id < 0 || id >= at->rules->vocab)
            st = hone_fail(at->fault, HONE_ERR_FORMAT, "token %lld at %zu is outside the model's vocabulary of %u",
                           (long long)id, t, at->rules->vocab);
        else if (l != -100 && l != id)
            st = hone_fail(at->fault, HONE_ERR_FORMAT, "label %lld at %zu is neither -100 nor its token %lld",
                           (long long)l, t, (long long)id);
        else
            st = data_draft_add(&d, &(int32_t){(int32_t)id}, 1, l != -100, at->fault);
    }
    if (st == HONE_OK) st = data_commit(at, &d);
    data_draft_free(&d);
    return st;
}

static bool ends_turn(const hone_tokenizer *t, int32_t id) {
    size_t n;
    const int32_t *end = hone_tokenizer_ends(t, &n);
    for (size_t i = 0; i < n; i++)
        if (end[i] == id) return true;
    return false;
}

/* As /v1/completions makes its prompt; then the completion and the end of text. */
static hone_status completion_row(const data_line *at, const json_t *row) {
    static const char *const known[] = {"prompt", "completion", "id", "metadata", NULL};
    const json_t *prompt = json_object_get(row, "prompt"), *completion = json_object_get(row, "completion");
    const hone_tokenizer *tok = at->rules->tokenizer;
    hone_status st = data_known_keys(row, "a row with a prompt", known, at->fault);
    if (st != HONE_OK) return st;
    if (!json_is_string(prompt) || !json_is_string(completion))
        return hone_fail(at->fault, HONE_ERR_FORMAT, "\"prompt\" and \"completion\" must be strings");
    if (!tok)
        return hone_fail(at->fault, HONE_ERR_FORMAT, "the model has no tokenizer: only rows of tokens can be used");
    if (json_string_length(completion) == 0)
        return hone_fail(at->fault, HONE_ERR_FORMAT, "nothing to train in this row: \"completion\" is empty");
    hone_buf text = {0};
    hone_ids p = {0}, w = {0};
    data_draft d = {0};
    hone_buf_add(&text, json_string_value(prompt), json_string_length(prompt));
    hone_buf_add(&text, json_string_value(completion), json_string_length(completion));
    if (text.failed) st = hone_fail(at->fault, HONE_ERR_NOMEM, "no memory for a row");
    const char *all = hone_buf_str(&text);
    if (st == HONE_OK)
        st = hone_tokenizer_encode(tok, all, json_string_length(prompt), HONE_ENCODE_ADD_SPECIAL, &p, at->fault);
    if (st == HONE_OK) st = hone_tokenizer_encode(tok, all, text.n, HONE_ENCODE_ADD_SPECIAL, &w, at->fault);
    if (st == HONE_OK) st = data_draft_add(&d, p.id, p.n, false, at->fault);
    if (st == HONE_OK && w.n > p.n && (p.n == 0 || memcmp(w.id, p.id, p.n * sizeof(*p.id)) == 0)) {
        st = data_draft_add(&d, w.id + p.n, w.n - p.n, true, at->fault);
    } else if (st == HONE_OK) { /* the border is inside a token: the completion by itself */
        w.n = 0;
        st =
            hone_tokenizer_encode(tok, json_string_value(completion), json_string_length(completion), 0, &w, at->fault);
        if (st == HONE_OK) st = data_draft_add(&d, w.id, w.n, true, at->fault);
    }
    const int32_t eos = hone_tokenizer_role(tok, HONE_ROLE_EOS);
    if (st == HONE_OK && eos != HONE_NO_TOKEN && d.ids.n && !ends_turn(tok, d.ids.id[d.ids.n - 1]))
        st = data_draft_add(&d, &eos, 1, true, at->fault);
    if (st == HONE_OK) st = data_commit(at, &d);
    data_draft_free(&d);
    hone_ids_free(&p);
    hone_ids_free(&w);
    hone_buf_free(&text);
    return st;
}

/* ---- One row ---- */

static hone_status one_row(const data_line *at, const json_t *row) {
    if (!json_is_object(row)) return hone_fail(at->fault, HONE_ERR_FORMAT, "a row must be a JSON object");
    if (json_object_get(row, "messages")) return data_chat(at, row);
    if (json_object_get(row, "prompt") || json_object_get(row, "completion")) return completion_row(at, row);
    if (json_object_get(row, "tokens")) return tokens_row(at, row);
    return hone_fail(at->fault, HONE_ERR_FORMAT,
                     "a row needs \"messages\", \"prompt\" and \"completion\", or \"tokens\"");
}

/* ---- Faults ---- */

static void note_fault(hone_data_faults *faults, uint64_t line, const char *message) {
    if (faults->n < HONE_DATA_MAX_FAULTS) {
        hone_data_fault *f = &faults->fault[faults->n++];
        f->line = line;
        snprintf(f->message, sizeof(f->message), "%.*s", (int)sizeof(f->message) - 1, message);
    }
    faults->total++;
}

/* The first n of them, and how many are not said. */
static bool say(const hone_data_faults *faults, uint32_t n, hone_buf *out) {
    for (uint32_t i = 0; i < n; i++)
        hone_buf_format(out, "%sline %llu: %s", i ? "; " : "", (unsigned long long)faults->fault[i].line,
                        faults->fault[i].message);
    if (faults->total > n) hone_buf_format(out, "; and %llu more", (unsigned long long)(faults->total - n));
    return !out->failed;
}

bool hone_data_faults_text(const hone_data_faults *faults, hone_buf *out) {
    return say(faults, faults->n, out);
}

/* As many as a message holds, behind the file's name. */
static hone_status report(const hone_data_faults *faults, const char *name, hone_error *err) {
    hone_buf text = {0};
    for (uint32_t n = faults->n; n > 0; n--) {
        hone_buf_clear(&text);
        if (!say(faults, n, &text) || text.n + strlen(name) + 3 < sizeof(err->message)) break;
    }
    const hone_status st =
        hone_fail_at(err, HONE_ERR_FORMAT, (int64_t)faults->fault[0].line, "%s: %s", name, hone_buf_str(&text));
    hone_buf_free(&text);
    return st;
}

/* ---- Files ---- */

typedef struct {
    hone_train_data *data;
    const hone_data_rules *rules;
    hone_data_faults *faults;
    hone_error *err;
} reading;

/* Only what no line can be blamed for ends the reading. */
static hone_status row_result(const reading *r, uint64_t line, hone_status st, const hone_error *fault) {
    if (st == HONE_OK) return HONE_OK;
    if (st == HONE_ERR_NOMEM) return hone_fail(r->err, st, "%s", fault->message);
    note_fault(r->faults, line, fault->message);
    return HONE_OK;
}

static hone_status read_array(const reading *r, const char *text, size_t n) {
    json_t *array = hone_json_parse(text, n, r->err);
    if (!array) return r->err ? r->err->code : HONE_ERR_FORMAT;
    hone_status st = HONE_OK;
    for (size_t i = 0; st == HONE_OK && i < json_array_size(array); i++) {
        hone_error fault = {0};
        const data_line at = {.data = r->data, .rules = r->rules, .line = i + 1, .fault = &fault};
        st = row_result(r, i + 1, one_row(&at, json_array_get(array, i)), &fault);
    }
    json_decref(array);
    return st;
}

static bool blank(const char *text, size_t n) {
    while (n && strchr(" \t\r\n", text[n - 1])) n--;
    return n == 0;
}

static hone_status read_lines(const reading *r, const char *text, size_t n) {
    hone_status st = HONE_OK;
    uint64_t line = 0;
    while (n && st == HONE_OK) {
        const char *end = memchr(text, '\n', n);
        const size_t len = end ? (size_t)(end - text) : n;
        line++;
        if (!blank(text, len)) {
            hone_error fault = {0};
            const data_line at = {.data = r->data, .rules = r->rules, .line = line, .fault = &fault};
            hone_status row_st = HONE_ERR_FORMAT;
            if (len > MAX_LINE_BYTES) {
                hone_fail(&fault, row_st, "a line of %zu bytes: at most %zu", len, MAX_LINE_BYTES);
            } else {
                json_t *row = hone_json_parse(text, len, &fault);
                if (row)
                    row_st = one_row(&at, row);
                else if (fault.code == HONE_ERR_NOMEM)
                    row_st = HONE_ERR_NOMEM;
                json_decref(row);
            }
            st = row_result(r, line, row_st, &fault);
        }
        n -= end ? len + 1 : len;
        text += end ? len + 1 : len;
    }
    return st;
}

static hone_status digest_of(hone_train_data *data, hone_error *err) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char raw[32];
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; ok && i < data->n; i++) {
        const hone_train_row *r = &data->row[i];
        ok = EVP_DigestUpdate(ctx, &r->n, sizeof(r->n)) == 1 &&
             EVP_DigestUpdate(ctx, r->token, r->n * sizeof(*r->token)) == 1 &&
             EVP_DigestUpdate(ctx, r->trained, r->n) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(ctx, raw, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a digest");
    for (int i = 0; i < 32; i++) snprintf(data->digest + 2 * i, 3, "%02x", raw[i]);
    return HONE_OK;
}

hone_status hone_data_parse(hone_train_data *data, const char *name, const char *text, size_t n,
                            const hone_data_rules *rules, hone_data_faults *faults, hone_error *err) {
    hone_data_faults own = {0};
    if (!faults) faults = &own;
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark, as some editors write it */
        text += 3;
        n -= 3;
    }
    const reading r = {.data = data, .rules = rules, .faults = faults, .err = err};
    size_t first = 0;
    while (first < n && strchr(" \t\r\n", text[first])) first++;
    const hone_status st = first < n && text[first] == '[' ? read_array(&r, text, n) : read_lines(&r, text, n);
    if (st != HONE_OK) return hone_fail_within(err, st, "%s: ", name);
    if (faults->total) return report(faults, name, err);
    if (data->n == 0) return hone_fail_at(err, HONE_ERR_FORMAT, 1, "%s: line 1: the file holds no rows", name);
    return digest_of(data, err);
}

hone_status hone_data_load(hone_train_data *data, const char *path, const hone_data_rules *rules,
                           hone_data_faults *faults, hone_error *err) {
    hone_map map;
    hone_status st = hone_map_path(&map, path, err);
    if (st != HONE_OK) return st;
    st = hone_data_parse(data, path, map.data ? (const char *)map.data : "", map.bytes, rules, faults, err);
    hone_map_close(&map);
    return st;
}

/* ---- Showing ---- */

hone_status hone_data_show(const hone_train_row *row, const hone_tokenizer *tokenizer, const char *open,
                           const char *close, hone_buf *out, hone_error *err) {
    hone_status st = HONE_OK;
    for (uint32_t from = 0, to; st == HONE_OK && from < row->n; from = to) {
        for (to = from + 1; to < row->n && row->trained[to] == row->trained[from];) to++;
        if (row->trained[from]) hone_buf_text(out, open);
        st = hone_tokenizer_decode(tokenizer, row->token + from, to - from, false, out, err);
        if (row->trained[from]) hone_buf_text(out, close);
    }
    if (st == HONE_OK && out->failed) st = hone_fail(err, HONE_ERR_NOMEM, "no memory for a row's text");
    return st;
}
