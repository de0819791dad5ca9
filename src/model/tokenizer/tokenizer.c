/* tokenizer.c - an open tokenizer: its tables, the memory of one call, encoding, and the questions about it.
 * Contract in tokenizer.h.  How the parts come out of files: json.c, vocab.c.
 *
 * Order: id lists, open and close, scratch memory, encoding, asking. */
#include "model/tokenizer/impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* ---- Id lists ---- */

bool hone_ids_add(hone_ids *ids, int32_t id) {
    if (!hone_grow(&ids->id, &ids->cap, ids->n, sizeof(*ids->id))) return false;
    ids->id[ids->n++] = id;
    return true;
}

void hone_ids_free(hone_ids *ids) {
    hone_free(ids->id);
    *ids = (hone_ids){0};
}

/* ---- Open and close ---- */

hone_tokenizer *model_tokenizer_new(void) {
    hone_tokenizer *t = hone_zalloc(1, sizeof(*t));
    if (!t) return NULL;
    if (pthread_mutex_init(&t->pool_lock, NULL) != 0) {
        hone_free(t);
        return NULL;
    }
    for (int i = 0; i < HONE_ROLE_COUNT; i++) t->role[i] = HONE_NO_TOKEN;
    t->bpe.unk = t->unigram.unk = t->wordpiece.unk = HONE_NO_TOKEN;
    return t;
}

/* One entry of the model's own vocabulary. */
hone_status model_tokenizer_add_text(hone_tokenizer *t, const char *text, size_t n, int32_t id, hone_error *err) {
    if (id < 0 || (uint32_t)id >= MODEL_TOKENS_MAX)
        return hone_fail(err, HONE_ERR_LIMIT, "token id %d (at most %u)", (int)id, MODEL_TOKENS_MAX - 1);
    if (model_dict_put(&t->vocab, text, n, id) < 0) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary");
    return HONE_OK;
}

/* text[] and flag[], once the vocabulary and the added tokens are complete: arenas no longer move. */
static hone_status index_ids(hone_tokenizer *t, hone_error *err) {
    int32_t largest = -1;
    for (size_t i = 0; i < t->vocab.n; i++)
        if (t->vocab.entry[i].value > largest) largest = t->vocab.entry[i].value;
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].id > largest) largest = t->added[i].id;
    t->size = largest + 1 > t->vocab_size ? largest + 1 : t->vocab_size; /* the last ones may be written as others */
    /* Published vocabularies have few holes; one id far out would cost memory for all below it. */
    if ((size_t)t->size > 4 * (t->vocab.n + t->n_added) + 65536)
        return hone_fail(err, HONE_ERR_LIMIT, "token id %d in a vocabulary of %zu", (int)largest,
                         t->vocab.n + t->n_added);
    t->text = hone_zalloc((size_t)t->size, sizeof(*t->text));
    t->flag = hone_zalloc((size_t)t->size, sizeof(*t->flag));
    if (!t->text || !t->flag)
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a vocabulary of %d tokens", (int)t->size);
    for (size_t i = 0; i < t->vocab.n; i++) {
        const model_dict_entry *e = &t->vocab.entry[i];
        t->text[e->value] = (hone_piece){model_dict_text(&t->vocab, i), e->n};
    }
    for (size_t i = 0; i < t->n_added; i++) {
        const model_added *a = &t->added[i];
        t->text[a->id] = (hone_piece){a->content, a->n};
        t->flag[a->id] |= (uint8_t)(MODEL_TOKEN_ADDED | (a->special ? MODEL_TOKEN_SPECIAL : 0));
    }
    return HONE_OK;
}

/* Two tries, one for the raw and one for the normalized text; special tokens first, as their order decides between
 * equals. */
static hone_status index_added(hone_tokenizer *t, hone_error *err) {
    model_scratch *s = model_scratch_take(t);
    if (!s) return hone_fail(err, HONE_ERR_NOMEM, "no memory for the added tokens");
    hone_status st = HONE_OK;
    for (int special = 1; special >= 0; special--)
        for (size_t i = 0; i < t->n_added && st == HONE_OK; i++) {
            model_added *a = &t->added[i];
            hone_piece p = {a->content, a->n};
            bool dropped;
            if (a->special != (special == 1)) continue;
            if (a->normalized) st = model_normalize(&t->normal, s, a->content, a->n, &p, &dropped, err);
            if (st == HONE_OK && (p.n != a->n || memcmp(p.text, a->content, p.n) != 0)) {
                a->shown = hone_strndup(p.text, p.n);
                a->shown_n = p.n;
                if (a->shown)
                    t->text[a->id] = (hone_piece){a->shown, p.n};
                else
                    st = hone_fail(err, HONE_ERR_NOMEM, "no memory for the added tokens");
            }
            if (st == HONE_OK)
                st = model_matcher_add(a->normalized ? &t->match_normalized : &t->match, p.text, p.n, (int32_t)i, err);
        }
    model_scratch_put(t, s);
    return st;
}

static int by_id(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

bool model_ends_add(hone_tokenizer *t, int32_t id) {
    if (id < 0) return true;
    for (size_t i = 0; i < t->ends.n; i++)
        if (t->ends.id[i] == id) return true;
    return hone_ids_add(&t->ends, id);
}

void model_ends_sort(hone_tokenizer *t) {
    if (t->ends.n) qsort(t->ends.id, t->ends.n, sizeof(*t->ends.id), by_id);
}

/* Tokens that published models end a turn with, whatever their configuration says. */
static hone_status index_ends(hone_tokenizer *t, hone_error *err) {
    static const char *const known[] = {
        "<|im_end|>",      "<|eot_id|>", "<|eom_id|>", "<end_of_turn>",         "<|endoftext|>",        "</s>",
        "<|end_of_text|>", "<|eot|>",    "<EOT>",      "<|end_of_turn|>",       "<|endofturn|>",        "<|return|>",
        "<|call|>",        "<|end|>",    "<eos>",      "<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>"};
    bool ok = model_ends_add(t, t->role[HONE_ROLE_EOS]);
    /* Harmony's <|end|> ends a message, not the turn: there <|return|> and <|call|> do. */
    const bool harmony = hone_tokenizer_find(t, "<|return|>", 10) >= 0 && hone_tokenizer_find(t, "<|call|>", 8) >= 0;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const int32_t id = hone_tokenizer_find(t, known[i], strlen(known[i]));
        if (id == HONE_NO_TOKEN || !hone_tokenizer_is_special(t, id) || (harmony && strcmp(known[i], "<|end|>") == 0))
            continue;
        ok &= model_ends_add(t, id);
    }
    if (!ok) return hone_fail(err, HONE_ERR_NOMEM, "no memory for the end tokens");
    model_ends_sort(t);
    return HONE_OK;
}

hone_status model_tokenizer_finish(hone_tokenizer *t, hone_error *err) {
    hone_status st = index_ids(t, err);
    if (st == HONE_OK && t->kind == MODEL_BPE) st = model_bpe_finish(t, err);
    if (st == HONE_OK && t->kind == MODEL_UNIGRAM) st = model_unigram_finish(t, err);
    for (size_t i = 0; i < t->vocab.n; i++)
        if (t->vocab.entry[i].n > t->wordpiece.max_bytes) t->wordpiece.max_bytes = t->vocab.entry[i].n;
    if (st == HONE_OK) st = index_added(t, err);
    if (st == HONE_OK) st = index_ends(t, err);
    for (size_t i = 0; i < t->n_post && st == HONE_OK; i++)
        if (t->post[i].id != HONE_NO_TOKEN && (t->post[i].id < 0 || t->post[i].id >= t->size))
            st = hone_fail(err, HONE_ERR_FORMAT, "the post-processor adds token id %d, the vocabulary has %d",
                           (int)t->post[i].id, (int)t->size);
    return st;
}

static void scratch_free(model_scratch *s) {
    if (!s) return;
    hone_free(s->cache);
    for (size_t i = 0; i < 2; i++) hone_buf_free(&s->normal[i]);
    for (size_t i = 0; i < MODEL_STEPS_MAX; i++) {
        hone_buf_free(&s->piece[i]);
        pcre2_match_data_free(s->match[i]);
    }
    pcre2_match_data_free(s->normal_match);
    pcre2_match_context_free(s->match_context);
    pcre2_jit_stack_free(s->jit_stack);
    hone_free(s->code);
    hone_free(s->ccc);
    hone_free(s->symbol);
    hone_free(s->heap);
    hone_free(s->best);
    hone_free(s->best_id);
    hone_free(s->best_from);
    hone_ids_free(&s->ids);
    hone_buf_free(&s->word);
    hone_free(s);
}

void hone_tokenizer_close(hone_tokenizer *t) {
    if (!t) return;
    while (t->pool) {
        model_scratch *s = t->pool;
        t->pool = s->next;
        scratch_free(s);
    }
    hone_free(t->text);
    hone_free(t->flag);
    model_dict_free(&t->vocab);
    model_dict_free(&t->added_of);
    for (size_t i = 0; i < t->n_added; i++) {
        hone_free(t->added[i].content);
        hone_free(t->added[i].shown);
    }
    hone_free(t->added);
    model_matcher_free(&t->match);
    model_matcher_free(&t->match_normalized);
    model_normal_free(&t->normal);
    model_split_free(&t->split);
    model_bpe_free(&t->bpe);
    hone_free(t->unigram.log_prob);
    hone_free(t->wordpiece.prefix);
    hone_free(t->post);
    model_decode_free(&t->decode);
    hone_ids_free(&t->ends);
    for (size_t i = 0; i < t->n_template; i++) {
        hone_free(t->templates[i].name);
        hone_free(t->templates[i].text);
    }
    hone_free(t->templates);
    pthread_mutex_destroy(&t->pool_lock);
    hone_free(t);
}

/* ---- Scratch memory ---- */

#define POOL_MAX 64u          /* idle ones kept: more threads than this encode at once only for a moment */
#define KEEP_BYTES (4u << 20) /* what one long text needed is given back after the call */

/* The pool is the one thing in a tokenizer that changes; its lock is what makes that safe. */
model_scratch *model_scratch_take(const hone_tokenizer *t) {
    hone_tokenizer *shared = (hone_tokenizer *)(uintptr_t)t;
    pthread_mutex_lock(&shared->pool_lock);
    model_scratch *s = shared->pool;
    if (s) {
        shared->pool = s->next;
        shared->n_pool--;
    }
    pthread_mutex_unlock(&shared->pool_lock);
    if (!s) s = hone_zalloc(1, sizeof(*s));
    if (s) {
        s->steps_left = MODEL_STEPS_BUDGET;
        s->newer = false;
    }
    return s;
}

void model_scratch_put(const hone_tokenizer *t, model_scratch *s) {
    hone_tokenizer *shared = (hone_tokenizer *)(uintptr_t)t;
    for (size_t i = 0; i < 2; i++)
        if (s->normal[i].cap > KEEP_BYTES) hone_buf_free(&s->normal[i]);
    for (size_t i = 0; i < t->split.n; i++)
        if (s->piece[i].cap > KEEP_BYTES) hone_buf_free(&s->piece[i]);
    if (s->code_cap > KEEP_BYTES / sizeof(*s->code) || s->ccc_cap > KEEP_BYTES) {
        hone_free(s->code);
        hone_free(s->ccc);
        s->code = NULL;
        s->ccc = NULL;
        s->code_cap = s->ccc_cap = 0;
    }
    if (s->symbol_cap > KEEP_BYTES / 16 || s->heap_cap > KEEP_BYTES / 8) {
        hone_free(s->symbol);
        hone_free(s->heap);
        s->symbol = NULL;
        s->heap = NULL;
        s->symbol_cap = s->heap_cap = 0;
    }
    if (s->best_cap > KEEP_BYTES / 8) {
        hone_free(s->best);
        hone_free(s->best_id);
        hone_free(s->best_from);
        s->best = NULL;
        s->best_id = NULL;
        s->best_from = NULL;
        s->best_cap = 0;
    }
    if (s->ids.cap > KEEP_BYTES / 4) hone_ids_free(&s->ids);
    pthread_mutex_lock(&shared->pool_lock);
    const bool keep = shared->n_pool < POOL_MAX;
    if (keep) {
        s->next = shared->pool;
        shared->pool = s;
        shared->n_pool++;
    }
    pthread_mutex_unlock(&shared->pool_lock);
    if (!keep) scratch_free(s);
}

/* ---- Encoding ---- */

hone_status model_word(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, hone_ids *out,
                       hone_error *err) {
    switch (t->kind) {
    case MODEL_UNIGRAM: return model_unigram_word(t, s, text, n, out, err);
    case MODEL_WORDPIECE: return model_wordpiece_word(t, s, text, n, out, err);
    case MODEL_WORDLEVEL: return model_wordlevel_word(t, text, n, out, err);
    default: return model_bpe_word(t, s, text, n, out, err);
    }
}

typedef struct {
    const hone_tokenizer *t;
    model_scratch *s;
    const char *text; /* the raw text, or the normalized piece */
    bool first;       /* text begins where the input begins */
    bool plain_special;
    hone_ids *out;
} encoding;

static hone_status give_normalized(void *arg, int32_t added, size_t start, size_t end, hone_error *err) {
    const encoding *e = arg;
    if (added < 0)
        return model_split_run(e->t, e->s, e->text + start, end - start, e->first && start == 0, e->out, err);
    return hone_ids_add(e->out, e->t->added[added].id) ? HONE_OK
                                                       : hone_fail(err, HONE_ERR_NOMEM, "no memory to encode a text");
}

static hone_status give_raw(void *arg, int32_t added, size_t start, size_t end, hone_error *err) {
    encoding *e = arg;
    if (added >= 0) return give_normalized(arg, added, start, end, err);
    hone_piece p;
    bool dropped;
    const hone_status st = model_normalize(&e->t->normal, e->s, e->text + start, end - start, &p, &dropped, err);
    if (st != HONE_OK) return st;
    encoding inner = *e;
    inner.text = p.text;
    inner.first = start == 0 && !dropped;
    return model_added_run(e->t, &e->t->match_normalized, e->plain_special, p.text, p.n, give_normalized, &inner, err);
}

static hone_status encode_text(const hone_tokenizer *t, model_scratch *s, const char *text, size_t n, unsigned flags,
                               hone_ids *out, hone_error *err) {
    encoding e = {.t = t, .s = s, .text = text, .plain_special = flags & HONE_ENCODE_PLAIN_SPECIAL, .out = out};
    return model_added_run(t, &t->match, e.plain_special, text, n, give_raw, &e, err);
}

hone_status hone_tokenizer_encode(const hone_tokenizer *t, const char *text, size_t n, unsigned flags, hone_ids *out,
                                  hone_error *err) {
    const size_t before = out->n;
    if (n > MODEL_TEXT_BYTES_MAX)
        return hone_fail(err, HONE_ERR_LIMIT, "a text of %zu bytes (at most %u)", n, MODEL_TEXT_BYTES_MAX);
    const size_t valid = hone_utf8_valid(text, n);
    if (valid != n)
        return hone_fail_at(err, HONE_ERR_FORMAT, (int64_t)valid, "the text is no UTF-8 at byte %zu", valid);
    model_scratch *s = model_scratch_take(t);
    if (!s) return hone_fail(err, HONE_ERR_NOMEM, "no memory to encode a text");
    s->newer = model_has_newer(text, n);
    hone_status st = HONE_OK;
    if (t->n_post == 0) {
        st = encode_text(t, s, text, n, flags, out, err);
    } else {
        for (size_t i = 0; i < t->n_post && st == HONE_OK; i++) {
            if (t->post[i].id == HONE_NO_TOKEN)
                st = encode_text(t, s, text, n, flags, out, err);
            else if (flags & HONE_ENCODE_ADD_SPECIAL && !hone_ids_add(out, t->post[i].id))
                st = hone_fail(err, HONE_ERR_NOMEM, "no memory to encode a text");
        }
    }
    model_scratch_put(t, s);
    if (st != HONE_OK) out->n = before;
    return st;
}

/* ---- Asking ---- */

int32_t hone_tokenizer_size(const hone_tokenizer *t) {
    return t->size;
}

const char *hone_tokenizer_text(const hone_tokenizer *t, int32_t id, size_t *n) {
    if (id < 0 || id >= t->size) return NULL;
    hone_piece p = t->text[id];
    if (t->flag[id] & MODEL_TOKEN_ADDED) /* few, and few ask */
        for (size_t i = 0; i < t->n_added; i++)
            if (t->added[i].id == id && t->added[i].shown) p = (hone_piece){t->added[i].content, t->added[i].n};
    if (n) *n = p.n;
    return p.text;
}

int32_t hone_tokenizer_find(const hone_tokenizer *t, const char *text, size_t n) {
    const int32_t added = model_dict_get(&t->added_of, text, n);
    return added >= 0 ? t->added[added].id : model_dict_get(&t->vocab, text, n);
}

bool hone_tokenizer_is_special(const hone_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->size && t->flag[id] & MODEL_TOKEN_SPECIAL;
}

int32_t hone_tokenizer_role(const hone_tokenizer *t, hone_token_role role) {
    return (unsigned)role < HONE_ROLE_COUNT ? t->role[role] : HONE_NO_TOKEN;
}

bool hone_tokenizer_adds_bos(const hone_tokenizer *t) {
    return t->n_post > 0 && t->post[0].id != HONE_NO_TOKEN;
}
bool hone_tokenizer_adds_eos(const hone_tokenizer *t) {
    return t->n_post > 0 && t->post[t->n_post - 1].id != HONE_NO_TOKEN;
}

const int32_t *hone_tokenizer_ends(const hone_tokenizer *t, size_t *n) {
    *n = t->ends.n;
    return t->ends.id;
}

const char *hone_tokenizer_template(const hone_tokenizer *t, const char *name) {
    for (size_t i = 0; i < t->n_template; i++) {
        const char *own = t->templates[i].name;
        if (name ? own && strcmp(own, name) == 0 : !own || strcmp(own, "default") == 0) return t->templates[i].text;
    }
    return NULL;
}

hone_status model_template_add(hone_tokenizer *t, const char *name, const char *text, hone_error *err) {
    for (size_t i = 0; i < t->n_template; i++) {
        const char *own = t->templates[i].name;
        if ((!own && !name) || (own && name && strcmp(own, name) == 0)) { /* a later one replaces */
            char *copy = hone_strdup(text);
            if (!copy) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a chat template");
            hone_free(t->templates[i].text);
            t->templates[i].text = copy;
            return HONE_OK;
        }
    }
    char *own = name ? hone_strdup(name) : NULL, *copy = hone_strdup(text);
    if ((name && !own) || !copy || !hone_grow(&t->templates, &t->template_cap, t->n_template, sizeof(*t->templates))) {
        hone_free(own);
        hone_free(copy);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for a chat template");
    }
    t->templates[t->n_template++] = (model_template){own, copy};
    return HONE_OK;
}
