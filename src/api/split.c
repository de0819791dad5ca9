/* split.c - a choice's text, as it comes, into reasoning, content and calls; the contract is in dialect.h.
 *
 * Bytes wait in one buffer until it is sure what they are: a mark that may still be beginning, white space that may
 * stand before one, the head of a call until its name is known.  What is sure is given out at once, so arguments that
 * are JSON flow token by token; a value of PARAMETERS, and arguments that came as a string, are given whole.  A text
 * that only looked like a call is given out as content; once a name was given out there is no way back, and what
 * follows, well-formed or not, are that call's arguments. Order: marks, giving out, heads of calls, arguments by style,
 * the states, the public functions. */
#include <ctype.h>
#include <string.h>

#include "api/dialect.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "grammar/grammar.h"

typedef enum {
    BEGIN, /* reasoning may begin */
    REASONING,
    CONTENT,
    SECTION,   /* at the trigger: the head of the first call */
    CALL,      /* the head of a further call */
    ARGUMENTS, /* JSON */
    REST,      /* OBJECT: further members up to the call's closing brace */
    PARAMETER, /* PARAMETERS: a key, or the call's end */
    VALUE,     /* PARAMETERS: the value of one */
    GEMMA,
    CLOSE, /* behind the call */
    NEXT,  /* another call, or the section's end */
} state;

struct api_splitter {
    const api_dialect *d;
    const json_t *types;
    api_part_fn fn;
    void *arg;
    hone_buf buf;
    state at;
    bool tools, final;
    bool trim;    /* white space is dropped until something else comes */
    bool said;    /* content was given out */
    bool in_mark; /* inside of a special token that is no mark here: dropped */
    bool object;  /* the call began with the object alone */
    size_t retry; /* SECTION, CALL: not looked at again before buf has this length */
    /* JSON */
    uint32_t depth;
    bool started, quoted, escaped;
    hone_buf text; /* arguments that came as a string */
    bool as_text;
    /* PARAMETERS and GEMMA */
    char name[API_CALL_NAME + 1];
    hone_buf key, word;
    uint32_t n_parameter;
};

/* ---- Marks ---- */

typedef enum { NO, YES, MORE } match;

static bool space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static size_t skip_space(const char *text, size_t n, size_t i) {
    while (i < n && space(text[i])) i++;
    return i;
}

/* text[n] against a mark whose white space stands for any white space, or none; used: bytes matched, white space in
 * front included.  MORE: the text ended before that was clear. */
static match looks_like(const char *text, size_t n, const char *mark, size_t *used) {
    size_t i = skip_space(text, n, 0);
    for (; *mark; mark++) {
        if (space(*mark)) {
            i = skip_space(text, n, i);
            continue;
        }
        if (*mark == '[' || *mark == '{') i = skip_space(text, n, i); /* JSON begins: models space it freely */
        if (i == n) return MORE;
        if (text[i++] != *mark) return NO;
    }
    *used = i;
    return YES;
}

/* The mark without the white space around it, [n]. */
static const char *solid(const char *mark, size_t *n) {
    while (space(*mark)) mark++;
    size_t k = strlen(mark);
    while (k && space(mark[k - 1])) k--;
    *n = k;
    return mark;
}

/* Bytes at the end of text[n] with which mark[k] may be beginning. */
static size_t may_begin(const char *text, size_t n, const char *mark, size_t k) {
    size_t have = k ? k - 1 : 0;
    if (have > n) have = n;
    while (have && memcmp(text + n - have, mark, have) != 0) have--;
    return have;
}

static void drop(api_splitter *s, size_t n) {
    if (n == 0) return;
    memmove(s->buf.data, s->buf.data + n, s->buf.n - n + 1);
    s->buf.n -= n;
}

/* ---- Giving out ---- */

/* Special tokens that are no marks where they stand leave no trace, as everywhere in replies. */
static void say(api_splitter *s, api_part part, const char *text, size_t n) {
    size_t from = 0;
    for (size_t i = 0; i <= n; i++) {
        const bool mark = i < n && (unsigned char)text[i] == HONE_TOKEN_MARK;
        if (i < n && !mark) continue;
        if (!s->in_mark && i > from) {
            s->fn(s->arg, part, text + from, i - from, "");
            if (part == API_PART_CONTENT) s->said = true;
        }
        if (mark) s->in_mark = !s->in_mark;
        from = i + 1;
    }
}

/* The first n bytes of the buffer. */
static void give(api_splitter *s, api_part part, size_t n) {
    size_t from = 0;
    while (s->trim && from < n && space(s->buf.data[from])) from++;
    if (n > from) {
        s->trim = false;
        say(s, part, s->buf.data + from, n - from);
    }
    drop(s, n);
}

static size_t trailing_space(const char *text, size_t n) {
    size_t k = 0;
    while (k < n && space(text[n - 1 - k])) k++;
    return k;
}

/* ---- Heads ---- */

typedef struct {
    const char *name, *id;
    size_t n_name, n_id;
    size_t used;        /* bytes up to the arguments */
    bool has_arguments; /* OBJECT: they follow; else the object ended without */
} head;

static bool name_char(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

/* A JSON string at text[i]: its end, behind the quote; 0: not there yet. */
static size_t string_end(const char *text, size_t n, size_t i) {
    for (i++; i < n; i++) {
        if (text[i] == '\\')
            i++;
        else if (text[i] == '"')
            return i + 1;
    }
    return 0;
}

/* A JSON value at text[i]: its end; 0: not there yet. */
static size_t value_end(const char *text, size_t n, size_t i) {
    uint32_t depth = 0;
    while (i < n) {
        const char c = text[i];
        if (c == '"') {
            if (!(i = string_end(text, n, i))) return 0;
            if (depth == 0) return i;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']' || space(c))) return i;
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        i++;
        if (depth == 0 && (c == '}' || c == ']')) return i;
    }
    return 0;
}

static bool is_key(const char *text, size_t begin, size_t end, const char *key) {
    const size_t k = strlen(key);
    return k && end - begin == k + 2 && memcmp(text + begin + 1, key, k) == 0;
}

/* {"name": NAME, ... "arguments": - members in any order; arguments before the name are waited for in full. */
static match head_of_object(const api_splitter *s, const char *text, size_t n, head *h) {
    const api_dialect *d = s->d;
    size_t i = skip_space(text, n, 0), arguments = 0;
    if (i == n) return MORE;
    if (text[i++] != '{') return NO;
    for (bool first = true;; first = false) {
        i = skip_space(text, n, i);
        if (i < n && text[i] == ',' && !first) i = skip_space(text, n, i + 1);
        if (i == n) return MORE;
        if (text[i] == '}') {
            if (!h->n_name || (s->object && !arguments)) return NO;
            h->used = arguments ? arguments : i;
            h->has_arguments = arguments != 0;
            return YES;
        }
        if (text[i] != '"') return NO;
        const size_t key = i, end = string_end(text, n, i);
        if (!end) {
            /* A reply that begins with an object of other keys is no call: said early, so that it can flow. */
            if (s->object && first && n - i > 20) return NO;
            return MORE;
        }
        i = skip_space(text, n, end);
        if (i == n) return MORE;
        if (text[i++] != ':') return NO;
        i = skip_space(text, n, i);
        const bool name = is_key(text, key, end, d->mark[M_NAME_KEY]);
        const bool holds = is_key(text, key, end, d->mark[M_ARGUMENTS_KEY]) || is_key(text, key, end, "arguments") ||
                           is_key(text, key, end, "parameters");
        if (s->object && first && !name && !holds && !is_key(text, key, end, "type") && !is_key(text, key, end, "id"))
            return NO;
        if (i == n) return MORE;
        if (holds && h->n_name) {
            h->used = i;
            h->has_arguments = true;
            return YES;
        }
        if (holds) arguments = i;
        const bool id = is_key(text, key, end, "id");
        if ((name || id) && text[i] != '"') return NO;
        const size_t stop = value_end(text, n, i);
        if (!stop) return MORE;
        if (stop == i) return NO;
        if (name) {
            h->name = text + i + 1;
            h->n_name = stop - i - 2;
        } else if (id) {
            h->id = text + i + 1;
            h->n_id = stop - i - 2;
        }
        i = stop;
    }
}

static const char *find(const char *text, size_t n, const char *what, size_t k) {
    return k && n >= k ? memmem(text, n, what, k) : NULL;
}

/* NAME up to the middle mark (GEMMA: up to '{'; a mark of white space alone: up to the line's end or a key). */
static match head_of_named(const api_splitter *s, const char *text, size_t n, head *h) {
    const api_dialect *d = s->d;
    size_t k, begin = skip_space(text, n, 0), stop = begin;
    while (stop < n && name_char(text[stop])) stop++;
    h->name = text + begin;
    h->n_name = stop - begin;
    if (stop == n) return h->n_name > API_CALL_NAME ? NO : MORE;
    if (h->n_name == 0) return NO;
    if (d->format->style == API_CALL_GEMMA) {
        h->used = skip_space(text, n, stop);
        if (h->used == n) return MORE;
        return text[h->used] == '{' ? YES : NO;
    }
    if (d->format->numbered) {
        if (text[stop] != ':') return NO;
        for (stop++; stop < n && isdigit((unsigned char)text[stop]);) stop++;
    }
    size_t used;
    if (d->mark[M_ID][0]) {
        const match m = looks_like(text + stop, n - stop, d->mark[M_ID], &used);
        if (m == MORE) return MORE;
        if (m == YES) {
            const size_t id = stop + used;
            for (stop = id; stop < n && isalnum((unsigned char)text[stop]);) stop++;
            if (stop == n) return MORE;
            h->id = text + id;
            h->n_id = stop - id;
        }
    }
    solid(d->mark[M_MIDDLE], &k);
    if (k == 0) { /* nothing, or a new line */
        h->used = stop;
        return YES;
    }
    const match m = looks_like(text + stop, n - stop, d->mark[M_MIDDLE], &used);
    h->used = stop + used;
    return m;
}

/* The call's head at text[n], behind the marks before it. */
static match head_of(const api_splitter *s, const char *text, size_t n, head *h) {
    *h = (head){0};
    const match m =
        s->d->format->style == API_CALL_OBJECT ? head_of_object(s, text, n, h) : head_of_named(s, text, n, h);
    if (m != YES) return m;
    for (size_t i = 0; i < h->n_name; i++)
        if (!name_char(h->name[i])) return NO;
    return h->n_name && h->n_name <= API_CALL_NAME ? YES : NO;
}

static void begin_call(api_splitter *s, const head *h, size_t before) {
    char id[64] = "";
    if (h->n_id < sizeof(id)) memcpy(id, h->id ? h->id : "", h->n_id);
    memcpy(s->name, h->name, h->n_name);
    s->name[h->n_name] = 0;
    s->fn(s->arg, API_PART_CALL, s->name, h->n_name, id);
    drop(s, before + h->used);
    s->depth = 0;
    s->started = s->quoted = s->escaped = s->as_text = s->trim = s->in_mark = false;
    s->n_parameter = 0;
    hone_buf_clear(&s->text);
    hone_buf_clear(&s->key);
    hone_buf_clear(&s->word);
    switch (s->d->format->style) {
    case API_CALL_OBJECT:
        s->at = h->has_arguments ? ARGUMENTS : REST;
        if (!h->has_arguments) say(s, API_PART_ARGUMENTS, "{}", 2);
        break;
    case API_CALL_NAMED: s->at = ARGUMENTS; break;
    case API_CALL_PARAMETERS: s->at = PARAMETER; break;
    case API_CALL_GEMMA: s->at = GEMMA; break;
    }
}

/* ---- Arguments ---- */

/* The text of a string of JSON, as arguments: what was quoted twice. */
static void give_decoded(api_splitter *s) {
    json_t *v = hone_json_parse(hone_buf_str(&s->text), s->text.n, NULL);
    if (json_is_string(v))
        say(s, API_PART_ARGUMENTS, json_string_value(v), json_string_length(v));
    else
        say(s, API_PART_ARGUMENTS, hone_buf_str(&s->text), s->text.n);
    json_decref(v);
    hone_buf_clear(&s->text);
}

static void end_arguments(api_splitter *s) {
    if (s->as_text) give_decoded(s);
    s->depth = 1; /* of the object around it */
    s->quoted = s->escaped = false;
    s->at = s->d->format->style == API_CALL_OBJECT ? REST : CLOSE;
}

/* One byte of JSON: true when the value ended with it. */
static bool walk(api_splitter *s, char c) {
    if (s->escaped) {
        s->escaped = false;
    } else if (s->quoted) {
        if (c == '\\') s->escaped = true;
        if (c != '"') return false;
        s->quoted = false;
        return s->depth == 0;
    } else if (c == '"') {
        s->quoted = true;
    } else if (c == '{' || c == '[') {
        s->depth++;
    } else if (c == '}' || c == ']') {
        return --s->depth == 0;
    }
    return false;
}

static bool step_arguments(api_splitter *s) {
    size_t i = 0;
    if (!s->started) {
        i = skip_space(s->buf.data, s->buf.n, 0);
        if (i == s->buf.n) return false;
        drop(s, i);
        s->started = true;
        s->as_text = s->buf.data[0] == '"' && s->d->format->style == API_CALL_OBJECT;
    }
    bool over = false;
    for (i = 0; i < s->buf.n && !over; i++) {
        const char c = s->buf.data[i];
        /* a bare word (null) ends before what follows it */
        if (s->depth == 0 && !s->quoted && (c == ',' || c == '}' || c == ']')) break;
        over = walk(s, c);
    }
    const bool ends = over || i < s->buf.n;
    if (s->as_text) {
        hone_buf_add(&s->text, s->buf.data, i);
        drop(s, i);
    } else {
        give(s, API_PART_ARGUMENTS, i);
    }
    if (ends) end_arguments(s);
    return ends;
}

static bool step_rest(api_splitter *s) {
    for (size_t i = 0; i < s->buf.n; i++) {
        if (s->depth == 0) s->depth = 1; /* the object ended without arguments: its brace is still here */
        if (!walk(s, s->buf.data[i])) continue;
        drop(s, i + 1);
        s->at = CLOSE;
        return true;
    }
    drop(s, s->buf.n);
    return false;
}

/* text[n] without the special tokens in it. */
static void unmark(hone_buf *out, const char *text, size_t n) {
    bool inside = false;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] == HONE_TOKEN_MARK)
            inside = !inside;
        else if (!inside)
            hone_buf_char(out, text[i]);
    }
}

/* Whether the function's parameter of that name takes strings (and nothing that looks the same otherwise). */
static bool takes_string(const api_splitter *s, const char *key, bool *known) {
    *known = false;
    for (size_t i = 0; i < json_array_size(s->types); i++) {
        const json_t *f = json_object_get(json_array_get(s->types, i), "function");
        const char *name = json_string_value(json_object_get(f, "name"));
        if (!name || strcmp(name, s->name) != 0) continue;
        const json_t *p = json_object_get(json_object_get(json_object_get(f, "parameters"), "properties"), key);
        const json_t *type = json_object_get(p, "type"), *list = json_object_get(p, "enum");
        *known = type || list;
        if (type) return json_is_string(type) && strcmp(json_string_value(type), "string") == 0;
        return json_is_string(json_array_get(list, 0));
    }
    return false;
}

static void give_key(api_splitter *s, const char *key, size_t n) {
    hone_buf out = {0};
    hone_buf_text(&out, s->n_parameter++ ? ", " : "{");
    hone_buf_json_string(&out, key, n);
    hone_buf_text(&out, ": ");
    say(s, API_PART_ARGUMENTS, hone_buf_str(&out), out.n);
    hone_buf_free(&out);
}

static void give_value(api_splitter *s, const char *text, size_t n) {
    bool known;
    const bool string = takes_string(s, hone_buf_str(&s->key), &known);
    hone_buf plain = {0}, out = {0};
    unmark(&plain, text, n);
    json_t *v = string ? NULL : hone_json_parse(hone_buf_str(&plain), plain.n, NULL);
    if (v && (known || !json_is_string(v)))
        hone_buf_add(&out, plain.data, plain.n);
    else
        hone_buf_json_string(&out, hone_buf_str(&plain), plain.n);
    say(s, API_PART_ARGUMENTS, hone_buf_str(&out), out.n);
    hone_buf_free(&plain);
    hone_buf_free(&out);
    json_decref(v);
}

static bool step_parameter(api_splitter *s) {
    size_t used, k;
    const match m = looks_like(s->buf.data, s->buf.n, s->d->mark[M_KEY], &used);
    if (m == MORE) return false;
    if (m == YES) {
        const char *end = solid(s->d->mark[M_KEY_END], &k), *at = find(s->buf.data + used, s->buf.n - used, end, k);
        if (!at) return false;
        const size_t n = (size_t)(at - s->buf.data) - used;
        hone_buf_clear(&s->key);
        hone_buf_add(&s->key, s->buf.data + used, n);
        give_key(s, s->buf.data + used, n);
        drop(s, used + n + k);
        s->at = VALUE;
        return true;
    }
    say(s, API_PART_ARGUMENTS, s->n_parameter ? "}" : "{}", s->n_parameter ? 1 : 2);
    s->at = CLOSE;
    return true;
}

static bool step_value(api_splitter *s) {
    size_t k;
    const char *end = solid(s->d->mark[M_VALUE_END], &k), *at = find(s->buf.data, s->buf.n, end, k);
    if (!at && !s->final) return false;
    size_t n = at ? (size_t)(at - s->buf.data) : s->buf.n, from = 0;
    /* one line break at each end is the form's, the others are the value's */
    if (n && s->buf.data[0] == '\n') from = 1;
    const size_t past = n;
    if (n > from && s->buf.data[n - 1] == '\n') n--;
    give_value(s, s->buf.data + from, n - from);
    drop(s, at ? past + k : past);
    s->at = PARAMETER;
    return at != NULL;
}

/* A word outside of strings: a key, or a value. */
static void give_word(api_splitter *s, bool key) {
    while (s->word.n && space(s->word.data[s->word.n - 1])) s->word.n--;
    if (s->word.n == 0) return;
    hone_buf out = {0};
    json_t *v = key ? NULL : hone_json_parse(s->word.data, s->word.n, NULL);
    if (v)
        hone_buf_add(&out, s->word.data, s->word.n);
    else
        hone_buf_json_string(&out, s->word.data, s->word.n);
    say(s, API_PART_ARGUMENTS, hone_buf_str(&out), out.n);
    json_decref(v);
    hone_buf_free(&out);
    hone_buf_clear(&s->word);
}

/* The inside of a string, with JSON's escapes and without the quotes. */
static void give_inside(api_splitter *s, size_t n) {
    hone_buf plain = {0}, out = {0};
    unmark(&plain, s->buf.data, n);
    hone_buf_json_string(&out, hone_buf_str(&plain), plain.n);
    if (out.n > 2) say(s, API_PART_ARGUMENTS, out.data + 1, out.n - 2);
    hone_buf_free(&plain);
    hone_buf_free(&out);
    drop(s, n);
}

static bool step_gemma(api_splitter *s) {
    const char *quote = s->d->mark[M_QUOTE];
    const size_t k = strlen(quote);
    while (s->buf.n) {
        if (s->quoted) {
            const char *at = find(s->buf.data, s->buf.n, quote, k);
            size_t n = at ? (size_t)(at - s->buf.data) : s->buf.n - may_begin(s->buf.data, s->buf.n, quote, k);
            if (!at && !s->final) n = hone_utf8_complete(s->buf.data, n);
            give_inside(s, n);
            if (!at) return false;
            drop(s, k);
            s->quoted = false;
            say(s, API_PART_ARGUMENTS, "\"", 1);
            continue;
        }
        size_t used;
        const match m = looks_like(s->buf.data, s->buf.n, quote, &used);
        if (m == MORE && !s->final) return false;
        if (m == YES) {
            drop(s, used);
            s->quoted = true;
            say(s, API_PART_ARGUMENTS, "\"", 1);
            continue;
        }
        const char c = s->buf.data[0];
        drop(s, 1);
        if (c == ':') {
            give_word(s, true);
            say(s, API_PART_ARGUMENTS, ": ", 2);
        } else if (c == ',' || c == '}' || c == ']') {
            give_word(s, false);
            say(s, API_PART_ARGUMENTS, c == ',' ? ", " : &c, c == ',' ? 2 : 1);
            if (c != ',' && --s->depth == 0) {
                s->at = CLOSE;
                return true;
            }
        } else if (c == '{' || c == '[') {
            s->depth++;
            say(s, API_PART_ARGUMENTS, &c, 1);
        } else if (!space(c) || s->word.n) {
            hone_buf_char(&s->word, c);
        }
    }
    return false;
}

/* ---- States ---- */

static bool step_begin(api_splitter *s) {
    size_t used;
    const match m = looks_like(s->buf.data, s->buf.n, s->d->mark[M_THINK], &used);
    if (m == MORE && !s->final) return false;
    s->at = m == YES ? REASONING : CONTENT;
    if (m != YES) return true;
    drop(s, used);
    s->trim = true;
    return true;
}

static bool step_reasoning(api_splitter *s) {
    size_t k;
    const char *end = solid(s->d->mark[M_THINK_END], &k), *at = find(s->buf.data, s->buf.n, end, k);
    size_t n = at ? (size_t)(at - s->buf.data) : s->buf.n;
    const size_t past = n + k;
    if (!at && !s->final) n -= may_begin(s->buf.data, n, end, k);
    n -= trailing_space(s->buf.data, n);
    give(s, API_PART_REASONING, n);
    if (!at) return false;
    drop(s, past - n);
    s->trim = true;
    s->in_mark = false;
    s->at = CONTENT;
    return true;
}

static void begin_section(api_splitter *s, bool object) {
    s->at = SECTION;
    s->object = object;
    s->retry = 0;
}

static bool step_content(api_splitter *s) {
    size_t k;
    const char *trigger = solid(s->d->mark[M_TRIGGER], &k);
    if (!s->tools) {
        give(s, API_PART_CONTENT, s->buf.n);
        return false;
    }
    if (s->d->format->bare && !s->said) {
        const size_t i = skip_space(s->buf.data, s->buf.n, 0);
        if (i < s->buf.n && s->buf.data[i] == '{') {
            begin_section(s, true);
            return true;
        }
    }
    const char *at = find(s->buf.data, s->buf.n, trigger, k);
    size_t n = at ? (size_t)(at - s->buf.data) : s->buf.n;
    if (!at && !s->final) n -= may_begin(s->buf.data, n, trigger, k);
    if (at || !s->final) n -= trailing_space(s->buf.data, n); /* it is no content where a call follows */
    give(s, API_PART_CONTENT, n);
    if (!at) return false;
    begin_section(s, false);
    return true;
}

/* No call: the text that looked like its beginning is content, and what follows is looked at anew. */
static bool no_call(api_splitter *s, size_t n) {
    give(s, API_PART_CONTENT, n);
    s->said = true;
    s->at = CONTENT;
    return true;
}

static bool step_section(api_splitter *s) {
    const api_dialect *d = s->d;
    if (s->buf.n < s->retry && !s->final) return false;
    size_t k, used = 0, n = 0;
    match m = YES;
    solid(d->mark[M_TRIGGER], &k);
    if (!s->object) {
        static const api_mark before[] = {M_ALSO, M_BEGIN, M_OPEN};
        for (int i = 0; i < 3 && m == YES; i++) {
            if (!d->mark[before[i]][0]) continue;
            m = looks_like(s->buf.data + n, s->buf.n - n, d->mark[before[i]], &used);
            if (m == YES) n += used;
        }
    }
    head h;
    if (m == YES) m = head_of(s, s->buf.data + n, s->buf.n - n, &h);
    if (m == YES) {
        begin_call(s, &h, n);
        return true;
    }
    if (m == MORE && !s->final) {
        /* seldom looked at, so that a long head costs no square of its length */
        s->retry = s->buf.n < 4096 ? 0 : s->buf.n + s->buf.n / 8;
        return false;
    }
    return no_call(s, skip_space(s->buf.data, s->buf.n, 0) + (s->object ? 1 : k));
}

static bool step_call(api_splitter *s) {
    if (s->buf.n < s->retry && !s->final) return false;
    size_t n = 0;
    match m = YES;
    if (s->d->mark[M_OPEN][0]) m = looks_like(s->buf.data, s->buf.n, s->d->mark[M_OPEN], &n);
    head h;
    if (m == YES) m = head_of(s, s->buf.data + n, s->buf.n - n, &h);
    if (m == YES) {
        begin_call(s, &h, n);
        return true;
    }
    if (m == MORE && !s->final) {
        s->retry = s->buf.n < 4096 ? 0 : s->buf.n + s->buf.n / 8;
        return false;
    }
    s->at = CONTENT;
    s->trim = true;
    return true;
}

static bool step_close(api_splitter *s) {
    size_t used = 0;
    const match m = s->d->mark[M_CLOSE][0] ? looks_like(s->buf.data, s->buf.n, s->d->mark[M_CLOSE], &used) : YES;
    if (m == MORE && !s->final) return false;
    drop(s, m == YES ? used : m == MORE ? s->buf.n : 0);
    s->object = false;
    s->at = s->d->mark[M_BEGIN][0] ? NEXT : CONTENT;
    s->trim = true;
    return true;
}

static bool step_next(api_splitter *s) {
    const api_dialect *d = s->d;
    size_t used, k, i = skip_space(s->buf.data, s->buf.n, 0);
    const match end = looks_like(s->buf.data, s->buf.n, d->mark[M_END], &used);
    if (end == YES) {
        drop(s, used);
        s->at = CONTENT;
        return true;
    }
    if (i == s->buf.n) return false;
    const char *between = solid(d->mark[M_BETWEEN], &k);
    if (k && s->buf.data[i] == between[0]) i++;
    const char *open = d->mark[M_OPEN][0] ? d->mark[M_OPEN] : "{";
    const match more = looks_like(s->buf.data + i, s->buf.n - i, open, &used);
    if (more == YES) {
        drop(s, i);
        s->at = CALL;
        s->retry = 0;
        return true;
    }
    if ((more == MORE || end == MORE) && !s->final) return false;
    if (s->final && end == MORE) drop(s, s->buf.n);
    s->at = CONTENT;
    return true;
}

static bool step(api_splitter *s) {
    if (s->buf.n == 0) return false;
    switch (s->at) {
    case BEGIN: return step_begin(s);
    case REASONING: return step_reasoning(s);
    case CONTENT: return step_content(s);
    case SECTION: return step_section(s);
    case CALL: return step_call(s);
    case ARGUMENTS: return step_arguments(s);
    case REST: return step_rest(s);
    case PARAMETER: return step_parameter(s);
    case VALUE: return step_value(s);
    case GEMMA: return step_gemma(s);
    case CLOSE: return step_close(s);
    case NEXT: return step_next(s);
    }
    return false;
}

/* ---- Public ---- */

api_splitter *api_splitter_open(const api_dialect *d, api_think think, bool tools, const json_t *types, api_part_fn fn,
                                void *arg) {
    api_splitter *s = hone_zalloc(1, sizeof(*s));
    if (!s) return NULL;
    *s = (api_splitter){.d = d, .types = types, .fn = fn, .arg = arg, .tools = tools};
    s->at = think == API_THINK_OPEN ? REASONING : think == API_THINK_MAY ? BEGIN : CONTENT;
    s->trim = think == API_THINK_OPEN;
    return s;
}

static bool run(api_splitter *s) {
    while (!s->buf.failed && step(s)) {
    }
    return !s->buf.failed && !s->key.failed && !s->word.failed && !s->text.failed;
}

bool api_splitter_feed(api_splitter *s, const char *text, size_t n) {
    return hone_buf_add(&s->buf, text, n) && run(s);
}

bool api_splitter_finish(api_splitter *s) {
    s->final = true;
    if (!run(s)) return false;
    if (s->at == ARGUMENTS && s->as_text) give_decoded(s);
    return true;
}

bool api_splitter_thinking(const api_splitter *s) {
    return s->at == REASONING;
}

void api_splitter_close(api_splitter *s) {
    if (!s) return;
    hone_buf_free(&s->buf);
    hone_buf_free(&s->text);
    hone_buf_free(&s->key);
    hone_buf_free(&s->word);
    hone_free(s);
}
