/* json.c - tokenizer.json and tokenizer_config.json into the lists of impl.h.
 *
 * What is not implemented is refused by name and JSON path: dropout, CTC decoders, script splits, random pieces.
 * Truncation and padding that a file holds are left out, as transformers leaves them out.
 *
 * Order: errors with paths, patterns, normalizers, pre-tokenizers, decoders, post-processors, models, added tokens, the
 * configuration, opening. */
#include "model/tokenizer/impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

/* ---- Errors with paths ---- */

typedef struct place {
    const struct place *up;
    const char *key; /* NULL: an element, number index */
    size_t index;
} place;

static void write_path(hone_buf *out, const place *at) {
    if (!at) return;
    write_path(out, at->up);
    if (at->key)
        hone_buf_format(out, "/%s", at->key);
    else
        hone_buf_format(out, "/%zu", at->index);
}

/* Put the path before the message that err holds. */
static hone_status within(hone_error *err, hone_status st, const place *at) {
    hone_buf path = {0};
    write_path(&path, at);
    st = hone_fail_within(err, st, "%s: ", hone_buf_str(&path));
    hone_buf_free(&path);
    return st;
}

__attribute__((format(printf, 4, 5))) static hone_status fail(hone_error *err, hone_status st, const place *at,
                                                              const char *format, ...) {
    char message[300];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    hone_fail(err, st, "%s", message);
    return within(err, st, at);
}

static hone_status no_memory(hone_error *err) {
    return hone_fail(err, HONE_ERR_NOMEM, "no memory for a tokenizer");
}

/* The bytes of a member, which may hold NUL.  Absent: {otherwise}. */
static hone_status get_text(const json_t *o, const char *key, hone_piece *out, const char *otherwise, const place *at,
                            hone_error *err) {
    const json_t *v = json_object_get(o, key);
    *out = (hone_piece){otherwise, otherwise ? strlen(otherwise) : 0};
    if (!v || json_is_null(v)) return otherwise ? HONE_OK : fail(err, HONE_ERR_FORMAT, at, "'%s' is missing", key);
    if (!json_is_string(v)) return fail(err, HONE_ERR_FORMAT, at, "'%s' must be a string", key);
    *out = (hone_piece){json_string_value(v), json_string_length(v)};
    return HONE_OK;
}

static hone_status get_bool(const json_t *o, const char *key, bool *out, bool otherwise, const place *at,
                            hone_error *err) {
    const hone_status st = hone_json_get_bool(o, key, out, otherwise, err);
    return st == HONE_OK ? st : within(err, st, at);
}

static hone_status get_type(const json_t *o, hone_piece *out, const place *at, hone_error *err) {
    if (!json_is_object(o)) return fail(err, HONE_ERR_FORMAT, at, "must be an object");
    return get_text(o, "type", out, NULL, at, err);
}

static bool is(hone_piece p, const char *name) {
    return p.n == strlen(name) && memcmp(p.text, name, p.n) == 0;
}

/* Exactly one character. */
static hone_status get_char(const json_t *o, const char *key, hone_piece *out, const char *otherwise, const place *at,
                            hone_error *err) {
    uint32_t code;
    const hone_status st = get_text(o, key, out, otherwise, at, err);
    if (st != HONE_OK) return st;
    if (out->n == 0 || hone_utf8_decode(out->text, out->n, &code) != out->n)
        return fail(err, HONE_ERR_FORMAT, at, "'%s' must be one character", key);
    return HONE_OK;
}

static bool own(char **to, size_t *n, hone_piece p) {
    *to = hone_strndup(p.text, p.n);
    *n = p.n;
    return *to != NULL;
}

/* ---- Patterns ---- */

static hone_status get_pattern(const json_t *o, model_pattern *out, const place *at, hone_error *err) {
    const place here = {at, "pattern", 0};
    const json_t *p = json_object_get(o, "pattern"), *regex = json_object_get(p, "Regex"),
                 *text = json_object_get(p, "String");
    if (json_is_string(p)) text = p; /* as the library's earliest files have it */
    if (!json_is_string(regex) && !json_is_string(text))
        return fail(err, HONE_ERR_FORMAT, &here, "must be {\"String\": text} or {\"Regex\": pattern}");
    const json_t *v = json_is_string(regex) ? regex : text;
    const hone_status st = (v == regex ? model_pattern_regex : model_pattern_literal)(out, json_string_value(v),
                                                                                      json_string_length(v), err);
    return st == HONE_OK ? st : within(err, st, &here);
}

/* Each of a sequence's members in turn. */
typedef hone_status part_fn(hone_tokenizer *t, const json_t *o, const place *at, unsigned depth, hone_error *err);

static hone_status sequence(hone_tokenizer *t, const json_t *o, const char *key, part_fn *fn, const place *at,
                            unsigned depth, hone_error *err) {
    const json_t *list = json_object_get(o, key);
    if (!json_is_array(list)) return fail(err, HONE_ERR_FORMAT, at, "'%s' must be a list", key);
    if (depth >= MODEL_NESTING_MAX)
        return fail(err, HONE_ERR_LIMIT, at, "sequences nested more than %u deep", MODEL_NESTING_MAX);
    const place in = {at, key, 0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const place here = {&in, NULL, i};
        const hone_status st = fn(t, json_array_get(list, i), &here, depth + 1, err);
        if (st != HONE_OK) return st;
    }
    return HONE_OK;
}

static hone_status too_many(const place *at, hone_error *err) {
    return fail(err, HONE_ERR_LIMIT, at, "no memory, or more than %u steps", MODEL_STEPS_MAX);
}

static hone_status unsupported(hone_piece type, const char *what, const place *at, hone_error *err) {
    return fail(err, HONE_ERR_UNSUPPORTED, at, "%s '%.*s' is not implemented", what, (int)(type.n < 80 ? type.n : 80),
                type.text);
}

/* ---- Normalizers ---- */

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static hone_status charsmap(model_normal_step *step, hone_piece text, const place *at, hone_error *err) {
    hone_buf blob = {0};
    uint32_t bits = 0;
    unsigned have = 0;
    while (text.n && text.text[text.n - 1] == '=') text.n--;
    for (size_t i = 0; i < text.n; i++) {
        const int v = base64_value(text.text[i]);
        if (v < 0) {
            hone_buf_free(&blob);
            return fail(err, HONE_ERR_FORMAT, at, "'precompiled_charsmap' is no base64");
        }
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            hone_buf_char(&blob, (char)(bits >> have & 0xff));
        }
    }
    hone_status st =
        blob.failed ? no_memory(err) : model_normal_charsmap(step, (const uint8_t *)hone_buf_str(&blob), blob.n, err);
    hone_buf_free(&blob);
    return st == HONE_OK ? st : within(err, st, at);
}

static hone_status bert_normalizer(hone_tokenizer *t, const json_t *o, const place *at, hone_error *err) {
    bool clean, cjk, lowercase, accents;
    hone_status st = get_bool(o, "clean_text", &clean, true, at, err);
    if (st == HONE_OK) st = get_bool(o, "handle_chinese_chars", &cjk, true, at, err);
    if (st == HONE_OK) st = get_bool(o, "lowercase", &lowercase, true, at, err);
    if (st == HONE_OK) st = get_bool(o, "strip_accents", &accents, lowercase, at, err);
    if (st != HONE_OK) return st;
    const bool ok = (!clean || model_normal_add(&t->normal, MODEL_NORMAL_BERT_CLEAN)) &&
                    (!cjk || model_normal_add(&t->normal, MODEL_NORMAL_BERT_CJK)) &&
                    (!accents || (model_normal_add(&t->normal, MODEL_NORMAL_NFD) &&
                                  model_normal_add(&t->normal, MODEL_NORMAL_STRIP_MN))) &&
                    (!lowercase || model_normal_add(&t->normal, MODEL_NORMAL_LOWERCASE));
    return ok ? HONE_OK : too_many(at, err);
}

static hone_status normalizer(hone_tokenizer *t, const json_t *o, const place *at, unsigned depth, hone_error *err) {
    static const struct {
        const char *name;
        model_normal_kind kind;
    } plain[] = {{"NFC", MODEL_NORMAL_NFC},
                 {"NFD", MODEL_NORMAL_NFD},
                 {"NFKC", MODEL_NORMAL_NFKC},
                 {"NFKD", MODEL_NORMAL_NFKD},
                 {"Lowercase", MODEL_NORMAL_LOWERCASE},
                 {"StripAccents", MODEL_NORMAL_STRIP_ACCENTS},
                 {"ByteLevel", MODEL_NORMAL_BYTE_LEVEL},
                 {"Nmt", MODEL_NORMAL_NMT}};
    hone_piece type, text;
    hone_status st = get_type(o, &type, at, err);
    if (st != HONE_OK) return st;
    if (is(type, "Sequence")) return sequence(t, o, "normalizers", normalizer, at, depth, err);
    if (is(type, "BertNormalizer")) return bert_normalizer(t, o, at, err);
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        if (is(type, plain[i].name)) return model_normal_add(&t->normal, plain[i].kind) ? HONE_OK : too_many(at, err);
    const bool prepend = is(type, "Prepend"), replace = is(type, "Replace"), strip = is(type, "Strip"),
               map = is(type, "Precompiled");
    if (!prepend && !replace && !strip && !map) return unsupported(type, "normalizer", at, err);
    model_normal_step *step = model_normal_add(&t->normal, prepend   ? MODEL_NORMAL_PREPEND
                                                           : replace ? MODEL_NORMAL_REPLACE
                                                           : strip   ? MODEL_NORMAL_STRIP
                                                                     : MODEL_NORMAL_CHARSMAP);
    if (!step) return too_many(at, err);
    if (strip) {
        st = get_bool(o, "strip_left", &step->flag_a, true, at, err);
        return st == HONE_OK ? get_bool(o, "strip_right", &step->flag_b, true, at, err) : st;
    }
    if (map) {
        if ((st = get_text(o, "precompiled_charsmap", &text, "", at, err)) != HONE_OK) return st;
        if (text.n == 0) t->normal.n--; /* none is none */
        return text.n ? charsmap(step, text, at, err) : HONE_OK;
    }
    if (replace && (st = get_pattern(o, &step->pattern, at, err)) != HONE_OK) return st;
    if ((st = get_text(o, prepend ? "prepend" : "content", &text, NULL, at, err)) != HONE_OK) return st;
    return own(&step->content, &step->content_n, text) ? HONE_OK : no_memory(err);
}

/* ---- Pre-tokenizers ---- */

static hone_status get_behaviour(const json_t *o, model_behaviour *out, const char *otherwise, const place *at,
                                 hone_error *err) {
    static const char *const names[] = {"Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"};
    hone_piece p;
    const hone_status st = get_text(o, "behavior", &p, otherwise, at, err);
    if (st != HONE_OK) return st;
    for (unsigned i = 0; i < 5; i++)
        if (is(p, names[i])) {
            *out = (model_behaviour)i;
            return HONE_OK;
        }
    return unsupported(p, "split behavior", at, err);
}

static hone_status get_prepend(const json_t *o, model_prepend *out, const place *at, hone_error *err) {
    hone_piece p;
    bool legacy; /* add_prefix_space, before prepend_scheme existed */
    hone_status st = get_bool(o, "add_prefix_space", &legacy, true, at, err);
    if (st == HONE_OK) st = get_text(o, "prepend_scheme", &p, legacy ? "always" : "never", at, err);
    if (st != HONE_OK) return st;
    if (is(p, "always"))
        *out = MODEL_PREPEND_ALWAYS;
    else if (is(p, "first"))
        *out = MODEL_PREPEND_FIRST;
    else if (is(p, "never"))
        *out = MODEL_PREPEND_NEVER;
    else
        return unsupported(p, "prepend_scheme", at, err);
    return HONE_OK;
}

static hone_status metaspace(hone_tokenizer *t, const json_t *o, const place *at, hone_error *err) {
    hone_piece mark;
    bool split;
    hone_status st = get_char(o, "replacement", &mark, "\xe2\x96\x81", at, err);
    if (st == HONE_OK) st = get_bool(o, "split", &split, true, at, err);
    if (st != HONE_OK) return st;
    model_split_step *step = model_split_add(&t->split, MODEL_SPLIT_METASPACE);
    if (!step) return too_many(at, err);
    memcpy(step->content, mark.text, mark.n);
    step->content_n = mark.n;
    if ((st = get_prepend(o, &step->prepend, at, err)) != HONE_OK || !split) return st;
    if (!(step = model_split_add(&t->split, MODEL_SPLIT_PATTERN))) return too_many(at, err);
    step->behaviour = MODEL_MERGED_WITH_NEXT;
    return model_pattern_literal(&step->pattern, mark.text, mark.n, err);
}

static hone_status regex_step(hone_tokenizer *t, const char *regex, model_behaviour behaviour, bool invert,
                              const place *at, hone_error *err) {
    model_split_step *step = model_split_add(&t->split, MODEL_SPLIT_PATTERN);
    if (!step) return too_many(at, err);
    step->behaviour = behaviour;
    step->invert = invert;
    return model_pattern_regex(&step->pattern, regex, strlen(regex), err);
}

/* \w of the regex crate, which runs this pattern in the authority; it differs from Oniguruma's. */
#define RUST_WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static hone_status byte_level(hone_tokenizer *t, const json_t *o, const place *at, hone_error *err) {
    bool prefix, regex;
    hone_status st = get_bool(o, "add_prefix_space", &prefix, true, at, err);
    if (st == HONE_OK) st = get_bool(o, "use_regex", &regex, true, at, err);
    if (st == HONE_OK && prefix && !model_split_add(&t->split, MODEL_SPLIT_PREFIX_SPACE)) st = too_many(at, err);
    if (st == HONE_OK && regex) st = regex_step(t, GPT2, MODEL_ISOLATED, false, at, err);
    if (st == HONE_OK && !model_split_add(&t->split, MODEL_SPLIT_BYTE_MAP)) st = too_many(at, err);
    return st;
}

static hone_status plain_split(hone_tokenizer *t, model_split_kind kind, model_behaviour behaviour, const place *at,
                               hone_error *err) {
    model_split_step *step = model_split_add(&t->split, kind);
    if (!step) return too_many(at, err);
    step->behaviour = behaviour;
    return HONE_OK;
}

static hone_status pre_tokenizer(hone_tokenizer *t, const json_t *o, const place *at, unsigned depth, hone_error *err) {
    hone_piece type, text;
    model_behaviour behaviour = MODEL_ISOLATED;
    bool flag;
    hone_status st = get_type(o, &type, at, err);
    if (st != HONE_OK) return st;
    if (is(type, "Sequence")) return sequence(t, o, "pretokenizers", pre_tokenizer, at, depth, err);
    if (is(type, "ByteLevel")) return byte_level(t, o, at, err);
    if (is(type, "Metaspace")) return metaspace(t, o, at, err);
    if (is(type, "WhitespaceSplit")) return plain_split(t, MODEL_SPLIT_WHITESPACE, MODEL_REMOVED, at, err);
    if (is(type, "Whitespace"))
        return regex_step(t, "[" RUST_WORD "]+|[^" RUST_WORD "\\s]+", MODEL_REMOVED, true, at, err);
    if (is(type, "BertPreTokenizer")) {
        st = plain_split(t, MODEL_SPLIT_WHITESPACE, MODEL_REMOVED, at, err);
        return st == HONE_OK ? plain_split(t, MODEL_SPLIT_BERT_PUNCTUATION, MODEL_ISOLATED, at, err) : st;
    }
    if (is(type, "Digits")) {
        st = get_bool(o, "individual_digits", &flag, false, at, err);
        return st == HONE_OK ? plain_split(t, MODEL_SPLIT_DIGITS, flag ? MODEL_ISOLATED : MODEL_CONTIGUOUS, at, err)
                             : st;
    }
    if (is(type, "Punctuation")) {
        st = get_behaviour(o, &behaviour, "Isolated", at, err);
        return st == HONE_OK ? plain_split(t, MODEL_SPLIT_PUNCTUATION, behaviour, at, err) : st;
    }
    if (is(type, "FixedLength")) {
        int64_t length;
        if ((st = hone_json_get_int(o, "length", 1, INT32_MAX, &length, 5, err)) != HONE_OK) return within(err, st, at);
        if ((st = plain_split(t, MODEL_SPLIT_FIXED, MODEL_ISOLATED, at, err)) == HONE_OK)
            t->split.step[t->split.n - 1].length = (size_t)length;
        return st;
    }
    if (is(type, "CharDelimiterSplit")) {
        if ((st = get_char(o, "delimiter", &text, NULL, at, err)) != HONE_OK) return st;
        if ((st = plain_split(t, MODEL_SPLIT_PATTERN, MODEL_REMOVED, at, err)) != HONE_OK) return st;
        return model_pattern_literal(&t->split.step[t->split.n - 1].pattern, text.text, text.n, err);
    }
    if (!is(type, "Split")) return unsupported(type, "pre-tokenizer", at, err);
    model_split_step *step = model_split_add(&t->split, MODEL_SPLIT_PATTERN);
    if (!step) return too_many(at, err);
    if ((st = get_pattern(o, &step->pattern, at, err)) != HONE_OK) return st;
    if ((st = get_bool(o, "invert", &step->invert, false, at, err)) != HONE_OK) return st;
    return get_behaviour(o, &step->behaviour, NULL, at, err);
}

/* ---- Decoders ---- */

static hone_status decoder(hone_tokenizer *t, const json_t *o, const place *at, unsigned depth, hone_error *err) {
    static const struct {
        const char *name, *key, *otherwise; /* the text that the step keeps; key NULL: none */
        model_decode_kind kind;
    } known[] = {{"ByteLevel", NULL, NULL, MODEL_DECODE_BYTE_LEVEL},
                 {"ByteFallback", NULL, NULL, MODEL_DECODE_BYTE_FALLBACK},
                 {"Fuse", NULL, NULL, MODEL_DECODE_FUSE},
                 {"Replace", "content", NULL, MODEL_DECODE_REPLACE},
                 {"Strip", "content", " ", MODEL_DECODE_STRIP},
                 {"Metaspace", "replacement", "\xe2\x96\x81", MODEL_DECODE_METASPACE},
                 {"WordPiece", "prefix", "##", MODEL_DECODE_WORDPIECE},
                 {"BPEDecoder", "suffix", "</w>", MODEL_DECODE_BPE}};
    hone_piece type, text;
    hone_status st = get_type(o, &type, at, err);
    if (st != HONE_OK) return st;
    if (is(type, "Sequence")) return sequence(t, o, "decoders", decoder, at, depth, err);
    size_t k = 0;
    while (k < sizeof(known) / sizeof(known[0]) && !is(type, known[k].name)) k++;
    if (k == sizeof(known) / sizeof(known[0])) return unsupported(type, "decoder", at, err);
    model_decode_step *step = model_decode_add(&t->decode, known[k].kind);
    if (!step) return too_many(at, err);
    if (!known[k].key) return HONE_OK;
    const bool one = step->kind == MODEL_DECODE_STRIP || step->kind == MODEL_DECODE_METASPACE;
    st = (one ? get_char : get_text)(o, known[k].key, &text, known[k].otherwise, at, err);
    if (st != HONE_OK) return st;
    if (!own(&step->content, &step->content_n, text)) return no_memory(err);
    if (step->kind == MODEL_DECODE_REPLACE) return get_pattern(o, &step->pattern, at, err);
    if (step->kind == MODEL_DECODE_WORDPIECE) return get_bool(o, "cleanup", &step->flag, true, at, err);
    if (step->kind == MODEL_DECODE_METASPACE) {
        model_prepend scheme;
        st = get_prepend(o, &scheme, at, err);
        step->flag = scheme != MODEL_PREPEND_NEVER;
    }
    if (step->kind == MODEL_DECODE_STRIP) {
        int64_t start, stop;
        st = hone_json_get_int(o, "start", 0, INT32_MAX, &start, 0, err);
        if (st == HONE_OK) st = hone_json_get_int(o, "stop", 0, INT32_MAX, &stop, 0, err);
        if (st != HONE_OK) return within(err, st, at);
        step->start = (size_t)start;
        step->stop = (size_t)stop;
    }
    return st;
}

/* ---- Post-processors: a template of ids around the text, nested where several follow each other ---- */

static hone_status post_put(model_post_piece **list, size_t *n, size_t *cap, int32_t id, const place *at,
                            hone_error *err) {
    if (*n >= 4096) return fail(err, HONE_ERR_LIMIT, at, "a template of more than 4096 ids");
    if (!hone_grow(list, cap, *n, sizeof(**list))) return no_memory(err);
    (*list)[(*n)++].id = id;
    return HONE_OK;
}

/* The text within a new template is what the template so far gave. */
static hone_status post_text(const hone_tokenizer *t, model_post_piece **list, size_t *n, size_t *cap, const place *at,
                             hone_error *err) {
    hone_status st = HONE_OK;
    if (t->n_post == 0) return post_put(list, n, cap, HONE_NO_TOKEN, at, err);
    for (size_t i = 0; i < t->n_post && st == HONE_OK; i++) st = post_put(list, n, cap, t->post[i].id, at, err);
    return st;
}

static hone_status get_id(const json_t *v, int32_t *out, const place *at, hone_error *err) {
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= MODEL_TOKENS_MAX)
        return fail(err, HONE_ERR_FORMAT, at, "a token id must be an integer between 0 and %u", MODEL_TOKENS_MAX - 1);
    *out = (int32_t)json_integer_value(v);
    return HONE_OK;
}

static hone_status post_template(const hone_tokenizer *t, const json_t *o, model_post_piece **list, size_t *n,
                                 size_t *cap, const place *at, hone_error *err) {
    const json_t *single = json_object_get(o, "single"), *names = json_object_get(o, "special_tokens");
    const place in = {at, "single", 0};
    hone_status st = HONE_OK;
    if (!json_is_array(single)) return fail(err, HONE_ERR_FORMAT, at, "'single' must be a list");
    for (size_t i = 0; i < json_array_size(single) && st == HONE_OK; i++) {
        const place here = {&in, NULL, i};
        const json_t *piece = json_array_get(single, i), *special = json_object_get(piece, "SpecialToken");
        if (json_is_object(json_object_get(piece, "Sequence"))) {
            st = post_text(t, list, n, cap, &here, err);
            continue;
        }
        const char *name = json_string_value(json_object_get(special, "id"));
        if (!name) return fail(err, HONE_ERR_FORMAT, &here, "must be a Sequence or a SpecialToken");
        const json_t *ids = json_object_get(json_object_get(names, name), "ids");
        if (!json_is_array(ids))
            return fail(err, HONE_ERR_FORMAT, &here, "'%.80s' is not among the special_tokens", name);
        for (size_t k = 0; k < json_array_size(ids) && st == HONE_OK; k++) {
            int32_t id = 0;
            st = get_id(json_array_get(ids, k), &id, &here, err);
            if (st == HONE_OK) st = post_put(list, n, cap, id, &here, err);
        }
    }
    return st;
}

/* [CLS] text [SEP], for both BERT and RoBERTa. */
static hone_status post_pair(const hone_tokenizer *t, const json_t *o, model_post_piece **list, size_t *n, size_t *cap,
                             const place *at, hone_error *err) {
    int32_t cls = 0, sep = 0;
    hone_status st = get_id(json_array_get(json_object_get(o, "cls"), 1), &cls, at, err);
    if (st == HONE_OK) st = get_id(json_array_get(json_object_get(o, "sep"), 1), &sep, at, err);
    if (st == HONE_OK) st = post_put(list, n, cap, cls, at, err);
    if (st == HONE_OK) st = post_text(t, list, n, cap, at, err);
    return st == HONE_OK ? post_put(list, n, cap, sep, at, err) : st;
}

static hone_status post_processor(hone_tokenizer *t, const json_t *o, const place *at, unsigned depth,
                                  hone_error *err) {
    hone_piece type;
    hone_status st = get_type(o, &type, at, err);
    if (st != HONE_OK) return st;
    if (is(type, "Sequence")) return sequence(t, o, "processors", post_processor, at, depth, err);
    if (is(type, "ByteLevel")) return HONE_OK; /* offsets alone */
    const bool template = is(type, "TemplateProcessing");
    if (!template && !is(type, "BertProcessing") && !is(type, "RobertaProcessing"))
        return unsupported(type, "post-processor", at, err);
    for (size_t i = 0; i < t->n_post; i++) /* the authority takes the first one's pieces for several texts */
        if (t->post[i].id != HONE_NO_TOKEN)
            return fail(err, HONE_ERR_UNSUPPORTED, at, "a second post-processor that adds tokens");
    model_post_piece *list = NULL;
    size_t n = 0, cap = 0;
    st = (template ? post_template : post_pair)(t, o, &list, &n, &cap, at, err);
    if (st == HONE_OK && n == 0) st = fail(err, HONE_ERR_FORMAT, at, "an empty template");
    if (st != HONE_OK) {
        hone_free(list);
        return st;
    }
    hone_free(t->post);
    t->post = list;
    t->n_post = n;
    t->post_cap = cap;
    return HONE_OK;
}

/* ---- Models ---- */

static hone_status vocab_object(hone_tokenizer *t, const json_t *model, const place *at, hone_error *err) {
    const place here = {at, "vocab", 0};
    json_t *vocab = json_object_get(model, "vocab"), *value;
    const char *key;
    if (!json_is_object(vocab)) return fail(err, HONE_ERR_FORMAT, &here, "must be an object of tokens and ids");
    json_object_foreach(vocab, key, value) {
        int32_t id = 0;
        hone_status st = get_id(value, &id, &here, err);
        if (st == HONE_OK) st = model_tokenizer_add_text(t, key, strlen(key), id, err);
        if (st != HONE_OK) return st;
    }
    t->vocab_size = (int32_t)t->vocab.n;
    return HONE_OK;
}

/* "left right", or the two of a list. */
static bool merge_parts(const json_t *v, hone_piece *left, hone_piece *right) {
    if (json_is_array(v) && json_array_size(v) == 2) {
        const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);
        *left = (hone_piece){json_string_value(a), json_string_length(a)};
        *right = (hone_piece){json_string_value(b), json_string_length(b)};
        return left->text && right->text;
    }
    const char *text = json_string_value(v), *space = text ? strchr(text, ' ') : NULL;
    if (!space || strchr(space + 1, ' ')) return false;
    *left = (hone_piece){text, (size_t)(space - text)};
    *right = (hone_piece){space + 1, strlen(space + 1)};
    return true;
}

static hone_status bpe_merges(hone_tokenizer *t, const json_t *model, const place *at, hone_error *err) {
    const place in = {at, "merges", 0};
    const json_t *list = json_object_get(model, "merges");
    if (!json_is_array(list)) return fail(err, HONE_ERR_FORMAT, &in, "must be a list");
    const size_t n = json_array_size(list);
    model_merge *merge = hone_zalloc(n, sizeof(*merge));
    hone_buf joined = {0};
    hone_status st = merge ? HONE_OK : no_memory(err);
    size_t kept = 0;
    for (size_t i = 0; i < n && st == HONE_OK; i++) {
        const place here = {&in, NULL, i};
        const json_t *v = json_array_get(list, i);
        hone_piece left, right;
        if (json_is_string(v) && strncmp(json_string_value(v), "#version", 8) == 0) continue;
        if (!merge_parts(v, &left, &right)) {
            st = fail(err, HONE_ERR_FORMAT, &here, "a merge must be two tokens");
            break;
        }
        const int32_t a = model_dict_get(&t->vocab, left.text, left.n),
                      b = model_dict_get(&t->vocab, right.text, right.n);
        const size_t skip = t->bpe.prefix ? t->bpe.prefix_n : 0;
        hone_buf_clear(&joined);
        hone_buf_add(&joined, left.text, left.n);
        if (right.n > skip) hone_buf_add(&joined, right.text + skip, right.n - skip);
        const int32_t id = model_dict_get(&t->vocab, hone_buf_str(&joined), joined.n);
        if (joined.failed)
            st = no_memory(err);
        else if (a < 0 || b < 0 || id < 0 || right.n < skip)
            st = fail(err, HONE_ERR_FORMAT, &here, "'%.60s' is not in the vocabulary",
                      a < 0   ? left.text
                      : b < 0 ? right.text
                              : hone_buf_str(&joined));
        else
            merge[kept] = (model_merge){(uint64_t)(uint32_t)a << 32 | (uint32_t)b, (uint32_t)kept, id}, kept++;
    }
    if (st == HONE_OK) st = model_bpe_merges(&t->bpe, merge, kept, err);
    hone_buf_free(&joined);
    hone_free(merge);
    return st;
}

static hone_status bpe(hone_tokenizer *t, const json_t *model, const place *at, hone_error *err) {
    model_bpe *m = &t->bpe;
    hone_piece prefix, suffix, unk;
    double dropout;
    hone_status st = vocab_object(t, model, at, err);
    if (st == HONE_OK && (st = hone_json_get_real(model, "dropout", &dropout, 0, err)) != HONE_OK)
        return within(err, st, at);
    if (st == HONE_OK && dropout != 0)
        return fail(err, HONE_ERR_UNSUPPORTED, at, "dropout %g: an id list would differ from run to run", dropout);
    if (st == HONE_OK) st = get_bool(model, "fuse_unk", &m->fuse_unk, false, at, err);
    if (st == HONE_OK) st = get_bool(model, "byte_fallback", &m->byte_fallback, false, at, err);
    if (st == HONE_OK) st = get_bool(model, "ignore_merges", &m->ignore_merges, false, at, err);
    if (st == HONE_OK) st = get_text(model, "continuing_subword_prefix", &prefix, "", at, err);
    if (st == HONE_OK) st = get_text(model, "end_of_word_suffix", &suffix, "", at, err);
    if (st == HONE_OK) st = get_text(model, "unk_token", &unk, "", at, err);
    if (st != HONE_OK) return st;
    if (prefix.n && !own(&m->prefix, &m->prefix_n, prefix)) return no_memory(err);
    if (suffix.n && !own(&m->suffix, &m->suffix_n, suffix)) return no_memory(err);
    if (json_is_string(json_object_get(model, "unk_token"))) {
        m->unk = model_dict_get(&t->vocab, unk.text, unk.n);
        m->unk_missing = m->unk == HONE_NO_TOKEN;
        t->role[HONE_ROLE_UNK] = m->unk;
    }
    /* The mapping to byte characters as the last step is not done: words stay bytes. */
    if (t->split.n && t->split.step[t->split.n - 1].kind == MODEL_SPLIT_BYTE_MAP) {
        t->split.n--;
        m->bytes = true;
    }
    return bpe_merges(t, model, at, err);
}

static hone_status unigram(hone_tokenizer *t, const json_t *model, const place *at, hone_error *err) {
    model_unigram *m = &t->unigram;
    const place in = {at, "vocab", 0};
    const json_t *vocab = json_object_get(model, "vocab"), *unk = json_object_get(model, "unk_id");
    hone_status st = get_bool(model, "byte_fallback", &m->byte_fallback, false, at, err);
    if (st != HONE_OK) return st;
    if (!json_is_array(vocab)) return fail(err, HONE_ERR_FORMAT, &in, "must be a list of tokens and scores");
    m->n_log_prob = json_array_size(vocab);
    if (m->n_log_prob >= MODEL_TOKENS_MAX) return fail(err, HONE_ERR_LIMIT, &in, "%zu tokens", m->n_log_prob);
    if (!(m->log_prob = hone_zalloc(m->n_log_prob, sizeof(*m->log_prob)))) return no_memory(err);
    for (size_t i = 0; i < m->n_log_prob; i++) {
        const place here = {&in, NULL, i};
        const json_t *pair = json_array_get(vocab, i), *text = json_array_get(pair, 0),
                     *score = json_array_get(pair, 1);
        if (!json_is_string(text) || !json_is_number(score))
            return fail(err, HONE_ERR_FORMAT, &here, "must be a token and its score");
        m->log_prob[i] = json_number_value(score);
        if ((st = model_tokenizer_add_text(t, json_string_value(text), json_string_length(text), (int32_t)i, err)) !=
            HONE_OK)
            return st;
    }
    t->vocab_size = (int32_t)m->n_log_prob;
    if (unk && !json_is_null(unk)) {
        if ((st = get_id(unk, &m->unk, at, err)) != HONE_OK) return st;
        if ((size_t)m->unk >= m->n_log_prob) return fail(err, HONE_ERR_FORMAT, at, "'unk_id' is not in the vocabulary");
        t->role[HONE_ROLE_UNK] = m->unk;
    }
    return HONE_OK;
}

static hone_status wordpiece(hone_tokenizer *t, const json_t *model, const place *at, hone_error *err) {
    model_wordpiece *m = &t->wordpiece;
    hone_piece prefix, unk;
    int64_t most;
    hone_status st = vocab_object(t, model, at, err);
    if (st == HONE_OK) st = get_text(model, "continuing_subword_prefix", &prefix, "##", at, err);
    if (st == HONE_OK) st = get_text(model, "unk_token", &unk, "[UNK]", at, err);
    if (st == HONE_OK &&
        (st = hone_json_get_int(model, "max_input_chars_per_word", 0, 4096, &most, 100, err)) != HONE_OK)
        return within(err, st, at);
    if (st != HONE_OK) return st;
    m->max_chars = (size_t)most;
    m->unk = t->role[HONE_ROLE_UNK] = model_dict_get(&t->vocab, unk.text, unk.n);
    return own(&m->prefix, &m->prefix_n, prefix) ? HONE_OK : no_memory(err);
}

static hone_status model_of(hone_tokenizer *t, const json_t *root, hone_error *err) {
    const place at = {NULL, "model", 0};
    const json_t *model = json_object_get(root, "model");
    if (!json_is_object(model)) return fail(err, HONE_ERR_FORMAT, &at, "must be an object");
    hone_piece type;
    /* Files from before the type was written are told by what they hold. */
    const char *guess = json_object_get(model, "merges")                     ? "BPE"
                        : json_is_array(json_object_get(model, "vocab"))     ? "Unigram"
                        : json_object_get(model, "max_input_chars_per_word") ? "WordPiece"
                                                                             : "WordLevel";
    const hone_status st = get_text(model, "type", &type, guess, &at, err);
    if (st != HONE_OK) return st;
    if (is(type, "BPE")) return t->kind = MODEL_BPE, bpe(t, model, &at, err);
    if (is(type, "Unigram")) return t->kind = MODEL_UNIGRAM, unigram(t, model, &at, err);
    if (is(type, "WordPiece")) return t->kind = MODEL_WORDPIECE, wordpiece(t, model, &at, err);
    if (is(type, "WordLevel")) return t->kind = MODEL_WORDLEVEL, wordpiece(t, model, &at, err);
    return unsupported(type, "model", &at, err);
}

/* ---- Added tokens ---- */

static hone_status added_tokens(hone_tokenizer *t, const json_t *root, hone_error *err) {
    const place in = {NULL, "added_tokens", 0};
    const json_t *list = json_object_get(root, "added_tokens");
    if (!list || json_is_null(list)) return HONE_OK;
    if (!json_is_array(list)) return fail(err, HONE_ERR_FORMAT, &in, "must be a list");
    const size_t n = json_array_size(list);
    if (n >= MODEL_TOKENS_MAX) return fail(err, HONE_ERR_LIMIT, &in, "%zu added tokens", n);
    model_added *added = hone_zalloc(n, sizeof(*added));
    hone_status st = added ? HONE_OK : no_memory(err);
    for (size_t i = 0; i < n && st == HONE_OK; i++) {
        const place here = {&in, NULL, i};
        const json_t *o = json_array_get(list, i);
        hone_piece text;
        if (!json_is_object(o)) st = fail(err, HONE_ERR_FORMAT, &here, "must be an object");
        if (st == HONE_OK) st = get_text(o, "content", &text, NULL, &here, err);
        if (st == HONE_OK) st = get_bool(o, "special", &added[i].special, false, &here, err);
        if (st == HONE_OK) st = get_bool(o, "normalized", &added[i].normalized, !added[i].special, &here, err);
        if (st == HONE_OK) st = get_bool(o, "lstrip", &added[i].lstrip, false, &here, err);
        if (st == HONE_OK) st = get_bool(o, "rstrip", &added[i].rstrip, false, &here, err);
        if (st == HONE_OK) st = get_bool(o, "single_word", &added[i].single_word, false, &here, err);
        if (st == HONE_OK && !own(&added[i].content, &added[i].n, text)) st = no_memory(err);
    }
    if (st == HONE_OK && (st = model_added_set(t, added, n, err)) != HONE_OK) within(err, st, &in);
    for (size_t i = 0; added && i < n; i++) hone_free(added[i].content);
    hone_free(added);
    return st;
}

/* ---- The configuration ---- */

/* A token named as a string or as an object with its content. */
static int32_t named_token(const hone_tokenizer *t, const json_t *config, const char *key) {
    const json_t *v = json_object_get(config, key);
    if (json_is_object(v)) v = json_object_get(v, "content");
    return json_is_string(v) ? hone_tokenizer_find(t, json_string_value(v), json_string_length(v)) : HONE_NO_TOKEN;
}

static hone_status chat_templates(hone_tokenizer *t, const json_t *config, hone_error *err) {
    const json_t *v = json_object_get(config, "chat_template");
    hone_status st = HONE_OK;
    if (json_is_string(v)) return model_template_add(t, NULL, json_string_value(v), err);
    for (size_t i = 0; i < json_array_size(v) && st == HONE_OK; i++) {
        const char *name = json_string_value(json_object_get(json_array_get(v, i), "name"));
        const char *text = json_string_value(json_object_get(json_array_get(v, i), "template"));
        if (name && text) st = model_template_add(t, strcmp(name, "default") == 0 ? NULL : name, text, err);
    }
    return st;
}

static hone_status configure(hone_tokenizer *t, const char *config, size_t n, hone_error *err) {
    if (!config) return HONE_OK;
    json_t *root = hone_json_parse(config, n, err);
    if (!root) return hone_fail_within(err, HONE_ERR_FORMAT, "tokenizer_config.json: ");
    static const char *const keys[HONE_ROLE_COUNT] = {"bos_token", "eos_token", "pad_token", "unk_token"};
    for (int i = 0; i < HONE_ROLE_COUNT; i++) {
        const int32_t id = named_token(t, root, keys[i]);
        if (id != HONE_NO_TOKEN) t->role[i] = id;
    }
    /* add_bos_token and add_eos_token say nothing here: the file's own post-processor rules, in transformers 5 as well.
     */
    const hone_status st = chat_templates(t, root, err);
    json_decref(root);
    return st;
}

/* ---- Opening ---- */

hone_status hone_tokenizer_open_json(hone_tokenizer **out, const char *json, size_t json_bytes, const char *config,
                                     size_t config_bytes, hone_error *err) {
    *out = NULL;
    json_t *root = hone_json_parse(json, json_bytes, err);
    if (!root) return hone_fail_within(err, HONE_ERR_FORMAT, "tokenizer.json: ");
    hone_status st = json_is_object(root) ? HONE_OK : hone_fail(err, HONE_ERR_FORMAT, "must be an object");
    hone_tokenizer *t = model_tokenizer_new();
    if (!t) st = no_memory(err);
    static const struct {
        const char *key;
        part_fn *fn;
    } parts[] = {{"normalizer", normalizer},
                 {"pre_tokenizer", pre_tokenizer},
                 {"decoder", decoder},
                 {"post_processor", post_processor}};
    for (size_t i = 0; i < 4 && st == HONE_OK; i++) {
        const place at = {NULL, parts[i].key, 0};
        const json_t *o = json_object_get(root, parts[i].key);
        if (o && !json_is_null(o)) st = parts[i].fn(t, o, &at, 0, err);
    }
    if (st == HONE_OK && t->decode.n == 0 && !model_decode_add(&t->decode, MODEL_DECODE_SPACES)) st = no_memory(err);
    if (st == HONE_OK) st = model_of(t, root, err);
    if (st == HONE_OK) st = added_tokens(t, root, err);
    if (st == HONE_OK) {
        st = configure(t, config, config_bytes, err);
        if (st != HONE_OK) goto done;
        st = model_tokenizer_finish(t, err);
    }
    if (st != HONE_OK) hone_fail_within(err, st, "tokenizer.json: ");
done:
    json_decref(root);
    if (st == HONE_OK)
        *out = t;
    else
        hone_tokenizer_close(t);
    return st;
}

/* One file of a folder where it stands there; *found tells. */
static hone_status read_file(const char *folder, const char *name, hone_buf *out, bool *found, hone_error *err) {
    char *path = hone_path_join(folder, name);
    hone_error mine = {0};
    if (!path) return no_memory(err);
    const hone_status st = hone_file_read(path, out, (size_t)1 << 30, &mine);
    hone_free(path);
    *found = st == HONE_OK;
    if (st == HONE_OK || st == HONE_ERR_NOT_FOUND) return HONE_OK;
    if (err) *err = mine;
    return st;
}

/* generation_config.json: eos_token_id, a number or a list. */
static hone_status generation_ends(hone_tokenizer *t, const hone_buf *text, hone_error *err) {
    json_t *root = hone_json_parse(hone_buf_str(text), text->n, err);
    if (!root) return hone_fail_within(err, HONE_ERR_FORMAT, "generation_config.json: ");
    const json_t *v = json_object_get(root, "eos_token_id");
    bool ok = true;
    for (size_t i = 0; i < (json_is_array(v) ? json_array_size(v) : 1); i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < t->size)
            ok &= model_ends_add(t, (int32_t)json_integer_value(id));
    }
    json_decref(root);
    return ok ? HONE_OK : no_memory(err);
}

hone_status hone_tokenizer_open_folder(hone_tokenizer **out, const char *folder, hone_error *err) {
    hone_buf json = {0}, config = {0}, template = {0}, generation = {0};
    bool have_json, have_config, have_template, have_generation;
    *out = NULL;
    hone_status st = read_file(folder, "tokenizer.json", &json, &have_json, err);
    if (st == HONE_OK) st = read_file(folder, "tokenizer_config.json", &config, &have_config, err);
    if (st == HONE_OK) st = read_file(folder, "chat_template.jinja", &template, &have_template, err);
    if (st == HONE_OK) st = read_file(folder, "generation_config.json", &generation, &have_generation, err);
    if (st == HONE_OK && !have_json) st = hone_fail(err, HONE_ERR_NOT_FOUND, "%s: no tokenizer.json", folder);
    if (st == HONE_OK) {
        st = hone_tokenizer_open_json(out, hone_buf_str(&json), json.n, have_config ? hone_buf_str(&config) : NULL,
                                      config.n, err);
        if (st == HONE_OK && have_template) st = model_template_add(*out, NULL, hone_buf_str(&template), err);
        if (st == HONE_OK && have_generation) st = generation_ends(*out, &generation, err);
        if (st == HONE_OK) model_ends_sort(*out);
        if (st != HONE_OK) {
            hone_fail_within(err, st, "%s: ", folder);
            hone_tokenizer_close(*out);
            *out = NULL;
        }
    }
    hone_buf_free(&json);
    hone_buf_free(&config);
    hone_buf_free(&template);
    hone_buf_free(&generation);
    return st;
}
