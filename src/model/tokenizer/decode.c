/* decode.c - ids back to text, as a chain of stages that a token flows through as soon as it is fed.
 *
 * The authority decodes a whole list: every decoder maps a list of strings to a list of strings.  Here each decoder is
 * a stage that gets chunks and passes on what can no longer change.  A chunk says whether it starts and whether it ends
 * a string of that list: before a stage that joins the list (Fuse, ByteLevel) each token is one chunk, behind it the
 * whole text is one string in many chunks.  What must wait does so in the stage: bytes of an unfinished character, a
 * run of byte tokens (one bad byte in it makes replacement characters of all), trailing characters that may be
 * stripped, the last token of BPEDecoder.
 *
 * hone_tokenizer_decode is the same chain over all ids, so both give the same text.
 *
 * Order: stages, the chain, one token's bytes. */
#include "model/tokenizer/impl.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define STARTS 1u
#define ENDS 2u
#define REPLACEMENT "\xef\xbf\xbd"

typedef struct {
    hone_buf held; /* bytes that wait, or the string so far where the whole of it is needed */
    hone_buf room; /* the chunk being made */
    size_t seen;   /* strings begun */
    size_t cut;    /* STRIP: characters cut at the start of this string */
    bool open;     /* inside a string of several chunks; behind a join: anything was passed on */
    bool strip_done;
    bool have; /* BPE: a token waits */
    pcre2_match_data *match;
} stage;

struct hone_detok {
    const hone_tokenizer *t;
    bool skip_special;
    bool raw;     /* the token being fed is not written in byte characters */
    stage *stage; /* [t->decode.n] */
    model_scratch *scratch;
    hone_status status; /* the first failure of the current feed */
    hone_error *err;
    hone_buf *out;
};

static void pass(hone_detok *d, size_t at, const char *text, size_t n, unsigned flags);

/* ---- Stages ---- */

/* Append text[n] with invalid sequences replaced, one replacement for each maximal part of a character (the practice
 * that Unicode recommends and Rust follows).  Unless last, an unfinished character at the end stays: returns the bytes
 * used. */
static size_t lossy(hone_buf *out, const char *text, size_t n, bool last) {
    size_t i = 0;
    while (i < n) {
        uint32_t c;
        const size_t width = hone_utf8_decode(text + i, n - i, &c);
        if (width) {
            hone_buf_add(out, text + i, width);
            i += width;
            continue;
        }
        /* the longest prefix of a character that stands here; at least the byte itself */
        size_t part = 1;
        while (part < 4 && i + part < n && hone_utf8_complete(text + i, part + 1) == 0) part++;
        if (i + part == n && !last && hone_utf8_complete(text + i, part) == 0) break;
        hone_buf_text(out, REPLACEMENT);
        i += part;
    }
    return i;
}

static void drop_front(hone_buf *b, size_t n) {
    if (n == 0) return;
    memmove(b->data, b->data + n, b->n - n);
    b->n -= n;
}

static void flow_byte_level(hone_detok *d, size_t at, const char *text, size_t n) {
    stage *x = &d->stage[at];
    size_t bytes = 0;
    if (!hone_buf_reserve(&x->held, n)) return;
    if (!d->raw && model_byte_unmap(text, n, x->held.data + x->held.n, &bytes))
        x->held.n += bytes;
    else
        hone_buf_add(&x->held, text, n);
    hone_buf_clear(&x->room);
    drop_front(&x->held, lossy(&x->room, hone_buf_str(&x->held), x->held.n, false));
    if (x->room.n) {
        pass(d, at + 1, x->room.data, x->room.n, x->open ? 0 : STARTS);
        x->open = true;
    }
}

static void end_byte_level(hone_detok *d, size_t at) {
    stage *x = &d->stage[at];
    hone_buf_clear(&x->room);
    lossy(&x->room, hone_buf_str(&x->held), x->held.n, true);
    hone_buf_clear(&x->held);
    pass(d, at + 1, hone_buf_str(&x->room), x->room.n, ENDS | (x->open ? 0 : STARTS));
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of "<0x41>", or -1. */
static int byte_token(const char *text, size_t n) {
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const int high = text[3] == '+' ? 0 : hex_digit(text[3]), low = hex_digit(text[4]); /* Rust's parser takes "+f" */
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static void end_byte_run(hone_detok *d, size_t at) {
    stage *x = &d->stage[at];
    if (!x->held.n) return;
    if (hone_utf8_valid(x->held.data, x->held.n) == x->held.n) {
        pass(d, at + 1, x->held.data, x->held.n, STARTS | ENDS);
    } else {
        for (size_t i = 0; i < x->held.n; i++) pass(d, at + 1, REPLACEMENT, 3, STARTS | ENDS);
    }
    hone_buf_clear(&x->held);
}

static void flow_byte_fallback(hone_detok *d, size_t at, const char *text, size_t n) {
    stage *x = &d->stage[at];
    const int byte = byte_token(text, n);
    if (byte >= 0) {
        hone_buf_char(&x->held, (char)byte);
        return;
    }
    end_byte_run(d, at);
    pass(d, at + 1, text, n, STARTS | ENDS);
}

static void flow_replace(hone_detok *d, size_t at, const char *text, size_t n) {
    stage *x = &d->stage[at];
    const model_decode_step *step = &d->t->decode.step[at];
    model_find f = {
        .pattern = &step->pattern, .data = x->match, .scratch = d->scratch, .text = text, .n = n, .last_end = SIZE_MAX};
    size_t from = 0, start, end;
    bool found;
    hone_buf_clear(&x->room);
    while (n) {
        const hone_status st = model_find_next(&f, &found, &start, &end, d->err);
        if (st != HONE_OK) d->status = st;
        if (st != HONE_OK || !found) break;
        if (start > from) hone_buf_add(&x->room, text + from, start - from);
        hone_buf_add(&x->room, step->content, step->content_n);
        from = end;
    }
    if (n > from) hone_buf_add(&x->room, text + from, n - from);
    pass(d, at + 1, hone_buf_str(&x->room), x->room.n, STARTS | ENDS);
}

/* Cuts up to `start` times the character at the start of each string and up to `stop` times at its end. */
static void flow_strip(hone_detok *d, size_t at, const char *text, size_t n, unsigned flags) {
    stage *x = &d->stage[at];
    const model_decode_step *step = &d->t->decode.step[at];
    const size_t k = step->content_n;
    if (flags & STARTS) {
        x->cut = 0;
        x->strip_done = x->open = false;
        hone_buf_clear(&x->held);
    }
    while (!x->strip_done && n) {
        if (x->cut < step->start && n >= k && memcmp(text, step->content, k) == 0) {
            x->cut++;
            text += k;
            n -= k;
        } else {
            x->strip_done = true;
        }
    }
    hone_buf_add(&x->held, text, n);
    if (x->held.failed) return;
    size_t tail = 0; /* what may still be cut */
    while (tail < step->stop && x->held.n >= (tail + 1) * k &&
           memcmp(x->held.data + x->held.n - (tail + 1) * k, step->content, k) == 0)
        tail++;
    const size_t keep = x->held.n - tail * k;
    if (keep || flags & ENDS) {
        pass(d, at + 1, hone_buf_str(&x->held), keep, (x->open ? 0 : STARTS) | (flags & ENDS));
        x->open = true;
        drop_front(&x->held, keep);
    }
    if (flags & ENDS) hone_buf_clear(&x->held);
}

static void flow_metaspace(hone_detok *d, size_t at, const char *text, size_t n, unsigned flags) {
    stage *x = &d->stage[at];
    const model_decode_step *step = &d->t->decode.step[at];
    const bool drops = x->seen == 1 && step->flag; /* the first token loses its marks */
    hone_buf_clear(&x->room);
    for (size_t i = 0; i < n;) {
        if (n - i >= step->content_n && memcmp(text + i, step->content, step->content_n) == 0) {
            if (!drops) hone_buf_char(&x->room, ' ');
            i += step->content_n;
        } else {
            hone_buf_char(&x->room, text[i++]);
        }
    }
    pass(d, at + 1, hone_buf_str(&x->room), x->room.n, flags);
}

/* Replace every `from` in b; in place, the result is never longer. */
static void shorten(hone_buf *b, const char *from, const char *to) {
    const size_t n_from = strlen(from), n_to = strlen(to);
    char *hit = b->n ? memmem(b->data, b->n, from, n_from) : NULL;
    if (!hit) return;
    size_t read = (size_t)(hit - b->data), write = read;
    while (read < b->n) {
        if (b->n - read >= n_from && memcmp(b->data + read, from, n_from) == 0) {
            memcpy(b->data + write, to, n_to);
            write += n_to;
            read += n_from;
        } else {
            b->data[write++] = b->data[read++];
        }
    }
    b->n = write;
}

static void flow_wordpiece(hone_detok *d, size_t at, const char *text, size_t n) {
    static const char *const clean[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    stage *x = &d->stage[at];
    const model_decode_step *step = &d->t->decode.step[at];
    hone_buf_clear(&x->room);
    const bool continues = n >= step->content_n && memcmp(text, step->content, step->content_n) == 0;
    if (x->seen > 1 && !continues) hone_buf_char(&x->room, ' ');
    if (x->seen > 1 && continues)
        hone_buf_add(&x->room, text + step->content_n, n - step->content_n);
    else
        hone_buf_add(&x->room, text, n);
    for (size_t i = 0; step->flag && !x->room.failed && i < sizeof(clean) / sizeof(clean[0]); i++)
        shorten(&x->room, clean[i][0], clean[i][1]);
    pass(d, at + 1, hone_buf_str(&x->room), x->room.n, STARTS | ENDS);
}

/* The suffix is a space, except in the last token. */
static void give_bpe(hone_detok *d, size_t at, bool last) {
    stage *x = &d->stage[at];
    const model_decode_step *step = &d->t->decode.step[at];
    if (!x->have) return;
    hone_buf_clear(&x->room);
    for (size_t i = 0; i < x->held.n;) {
        if (step->content_n && x->held.n - i >= step->content_n &&
            memcmp(x->held.data + i, step->content, step->content_n) == 0) {
            if (!last) hone_buf_char(&x->room, ' ');
            i += step->content_n;
        } else {
            hone_buf_char(&x->room, x->held.data[i++]);
        }
    }
    x->have = false;
    pass(d, at + 1, hone_buf_str(&x->room), x->room.n, STARTS | ENDS);
}

/* ---- The chain ---- */

static bool needs_whole(model_decode_kind kind) {
    return kind == MODEL_DECODE_REPLACE || kind == MODEL_DECODE_BYTE_FALLBACK || kind == MODEL_DECODE_WORDPIECE ||
           kind == MODEL_DECODE_BPE;
}

static void pass(hone_detok *d, size_t at, const char *text, size_t n, unsigned flags) {
    if (d->status != HONE_OK) return;
    if (at == d->t->decode.n) {
        hone_buf_add(d->out, text, n);
        return;
    }
    stage *x = &d->stage[at];
    const model_decode_step *step = &d->t->decode.step[at];
    if (flags & STARTS) x->seen++;
    hone_buf whole = {0};
    if (needs_whole(step->kind) && flags != (STARTS | ENDS)) { /* behind a join: wait for all of it */
        hone_buf_add(&x->held, text, n);
        if (!(flags & ENDS)) return;
        whole = x->held;
        x->held = (hone_buf){0};
        text = hone_buf_str(&whole);
        n = whole.n;
    }
    switch (step->kind) {
    case MODEL_DECODE_BYTE_LEVEL: flow_byte_level(d, at, text, n); break;
    case MODEL_DECODE_REPLACE: flow_replace(d, at, text, n); break;
    case MODEL_DECODE_BYTE_FALLBACK: flow_byte_fallback(d, at, text, n); break;
    case MODEL_DECODE_FUSE:
        if (n) {
            pass(d, at + 1, text, n, x->open ? 0 : STARTS);
            x->open = true;
        }
        break;
    case MODEL_DECODE_STRIP: flow_strip(d, at, text, n, flags); break;
    case MODEL_DECODE_METASPACE: flow_metaspace(d, at, text, n, flags); break;
    case MODEL_DECODE_WORDPIECE: flow_wordpiece(d, at, text, n); break;
    case MODEL_DECODE_BPE:
        give_bpe(d, at, false);
        hone_buf_clear(&x->held);
        hone_buf_add(&x->held, text, n);
        x->have = true;
        break;
    case MODEL_DECODE_SPACES:
        if (x->seen > 1 && flags & STARTS) pass(d, at + 1, " ", 1, STARTS | ENDS);
        pass(d, at + 1, text, n, flags);
        break;
    }
    hone_buf_free(&whole);
    if (x->held.failed || x->room.failed) d->status = HONE_ERR_NOMEM;
}

static void reset(hone_detok *d) {
    for (size_t i = 0; i < d->t->decode.n; i++) {
        stage *x = &d->stage[i];
        hone_buf_clear(&x->held);
        hone_buf_clear(&x->room);
        x->seen = x->cut = 0;
        x->open = x->strip_done = x->have = false;
    }
}

hone_status hone_detok_open(hone_detok **out, const hone_tokenizer *t, bool skip_special, hone_error *err) {
    *out = NULL;
    hone_detok *d = hone_zalloc(1, sizeof(*d));
    if (!d) goto fail;
    d->t = t;
    d->skip_special = skip_special;
    if (!(d->stage = hone_zalloc(t->decode.n, sizeof(*d->stage)))) goto fail;
    for (size_t i = 0; i < t->decode.n; i++)
        if (t->decode.step[i].pattern.code) {
            if (!d->scratch && !(d->scratch = model_scratch_take(t))) goto fail;
            if (!(d->stage[i].match = pcre2_match_data_create(1, NULL))) goto fail;
        }
    *out = d;
    return HONE_OK;
fail:
    hone_detok_close(d);
    return hone_fail(err, HONE_ERR_NOMEM, "no memory to decode");
}

void hone_detok_close(hone_detok *d) {
    if (!d) return;
    if (d->scratch) model_scratch_put(d->t, d->scratch);
    for (size_t i = 0; d->stage && i < d->t->decode.n; i++) {
        hone_buf_free(&d->stage[i].held);
        hone_buf_free(&d->stage[i].room);
        pcre2_match_data_free(d->stage[i].match);
    }
    hone_free(d->stage);
    hone_free(d);
}

hone_status hone_detok_feed(hone_detok *d, int32_t id, hone_buf *out) {
    const hone_tokenizer *t = d->t;
    if (id < 0 || id >= t->size || !t->text[id].text) return HONE_OK;
    if (d->skip_special && t->flag[id] & MODEL_TOKEN_SPECIAL) return HONE_OK;
    d->out = out;
    d->status = HONE_OK;
    d->raw = t->flag[id] & MODEL_TOKEN_RAW;
    pass(d, 0, t->text[id].text, t->text[id].n, STARTS | ENDS);
    return out->failed ? HONE_ERR_NOMEM : d->status;
}

hone_status hone_detok_flush(hone_detok *d, hone_buf *out) {
    d->out = out;
    d->status = HONE_OK;
    for (size_t i = 0; i < d->t->decode.n; i++) {
        stage *x = &d->stage[i];
        switch (d->t->decode.step[i].kind) {
        case MODEL_DECODE_BYTE_LEVEL:
            if (!x->held.n) break;
            hone_buf_clear(&x->room);
            lossy(&x->room, x->held.data, x->held.n, true);
            hone_buf_clear(&x->held);
            pass(d, i + 1, hone_buf_str(&x->room), x->room.n, x->open ? 0 : STARTS);
            x->open = true;
            break;
        case MODEL_DECODE_BYTE_FALLBACK: end_byte_run(d, i); break;
        case MODEL_DECODE_BPE: give_bpe(d, i, false); break;
        default: break;
        }
    }
    return out->failed ? HONE_ERR_NOMEM : d->status;
}

hone_status hone_detok_finish(hone_detok *d, hone_buf *out) {
    d->out = out;
    d->status = HONE_OK;
    for (size_t i = 0; i < d->t->decode.n; i++) {
        switch (d->t->decode.step[i].kind) {
        case MODEL_DECODE_BYTE_LEVEL: end_byte_level(d, i); break;
        case MODEL_DECODE_BYTE_FALLBACK: end_byte_run(d, i); break;
        case MODEL_DECODE_FUSE: pass(d, i + 1, "", 0, ENDS | (d->stage[i].open ? 0 : STARTS)); break;
        case MODEL_DECODE_BPE: give_bpe(d, i, true); break;
        default: break;
        }
    }
    reset(d);
    return out->failed ? HONE_ERR_NOMEM : d->status;
}

hone_status hone_tokenizer_decode(const hone_tokenizer *t, const int32_t *id, size_t n, bool skip_special,
                                  hone_buf *out, hone_error *err) {
    hone_detok *d;
    hone_status st = hone_detok_open(&d, t, skip_special, err);
    if (st != HONE_OK) return st;
    d->err = err;
    for (size_t i = 0; i < n && st == HONE_OK; i++) st = hone_detok_feed(d, id[i], out);
    if (st == HONE_OK) st = hone_detok_finish(d, out);
    if (st == HONE_ERR_NOMEM) hone_fail(err, st, "no memory to decode %zu ids", n);
    hone_detok_close(d);
    return st;
}

/* ---- One token's bytes ---- */

hone_status hone_tokenizer_bytes(const hone_tokenizer *t, int32_t id, hone_buf *out) {
    if (id < 0 || id >= t->size || !t->text[id].text) return HONE_ERR_NOT_FOUND;
    const hone_piece p = t->text[id];
    hone_buf now = {0};
    bool bytes = false, first = true;
    hone_buf_add(&now, p.text, p.n);
    for (size_t i = 0; i < t->decode.n && !now.failed && !bytes; i++) {
        const model_decode_step *step = &t->decode.step[i];
        size_t n = 0;
        if (step->kind == MODEL_DECODE_BYTE_LEVEL) {
            hone_buf made = {0};
            if (!(t->flag[id] & MODEL_TOKEN_RAW) && hone_buf_reserve(&made, now.n) &&
                model_byte_unmap(now.data, now.n, made.data, &n)) {
                memcpy(now.data, made.data, n);
                now.n = n;
            }
            now.failed = made.failed;
            hone_buf_free(&made);
            bytes = true;
        } else if (step->kind == MODEL_DECODE_BYTE_FALLBACK) {
            const int byte = byte_token(hone_buf_str(&now), now.n);
            if (byte >= 0) {
                now.data[0] = (char)byte;
                now.n = 1;
                bytes = true;
            }
        } else if (first && ((step->kind == MODEL_DECODE_REPLACE && step->pattern.literal) ||
                             step->kind == MODEL_DECODE_METASPACE)) {
            /* U+2581 to a space, whatever stands before the token */
            const char *from = step->kind == MODEL_DECODE_REPLACE ? step->pattern.literal : step->content;
            const size_t n_from = step->kind == MODEL_DECODE_REPLACE ? step->pattern.literal_n : step->content_n;
            hone_buf made = {0};
            for (size_t k = 0; k < now.n;) {
                if (n_from && now.n - k >= n_from && memcmp(now.data + k, from, n_from) == 0) {
                    if (step->kind == MODEL_DECODE_REPLACE)
                        hone_buf_add(&made, step->content, step->content_n);
                    else
                        hone_buf_char(&made, ' ');
                    k += n_from;
                } else {
                    hone_buf_char(&made, now.data[k++]);
                }
            }
            hone_buf_free(&now);
            now = made;
        } else if (step->kind == MODEL_DECODE_WORDPIECE) {
            if (now.n >= step->content_n && memcmp(now.data, step->content, step->content_n) == 0)
                drop_front(&now, step->content_n);
            else {
                hone_buf_char(&now, ' ');
                memmove(now.data + 1, now.data, now.n - 1);
                now.data[0] = ' ';
            }
        }
        if (step->kind == MODEL_DECODE_FUSE) first = false;
    }
    const bool ok = !now.failed && hone_buf_add(out, hone_buf_str(&now), now.n);
    hone_buf_free(&now);
    return ok ? HONE_OK : HONE_ERR_NOMEM;
}

model_decode_step *model_decode_add(model_decode *list, model_decode_kind kind) {
    if (list->n >= MODEL_STEPS_MAX || !hone_grow(&list->step, &list->cap, list->n, sizeof(*list->step))) return NULL;
    list->step[list->n] = (model_decode_step){.kind = kind};
    return &list->step[list->n++];
}

void model_decode_free(model_decode *steps) {
    for (size_t i = 0; i < steps->n; i++) {
        model_pattern_free(&steps->step[i].pattern);
        hone_free(steps->step[i].content);
    }
    hone_free(steps->step);
    *steps = (model_decode){0};
}
