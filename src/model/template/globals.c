/* globals.c - the functions every template has, and the methods of what is no string.
 *
 * Left out: lipsum, and whatever would change a list or dictionary (lookup.c refuses that).
 * Order: ranges and mappings, cycler and joiner, raise_exception, the clock, methods, the tables. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "model/template/value.h"

#define MAX_RANGE 100000 /* elements, as in Jinja's sandbox */
#define MAX_DATE 4096    /* bytes that strftime_now may give */

/* ---- Ranges and mappings ---- */

static bool global_range(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_value slot[3];
    int64_t part[3] = {0, 0, 1};
    (void)self;
    if (!jinja_bind(run, "range", args, 1, 3, NULL, slot)) return false;
    for (size_t i = 0; i < args->n; i++)
        if (!jinja_index(run, slot[i], "a range's end", &part[i])) return false;
    if (args->n == 1) {
        part[1] = part[0];
        part[0] = 0;
    }
    if (part[2] == 0) return jinja_fail(run, HONE_ERR_ARG, "range() arg 3 must not be zero");
    uint64_t n = 0; /* in unsigned numbers: the distance of two int64 may not fit one */
    if (part[2] > 0 && part[0] < part[1]) n = ((uint64_t)part[1] - (uint64_t)part[0] - 1) / (uint64_t)part[2] + 1;
    if (part[2] < 0 && part[0] > part[1]) n = ((uint64_t)part[0] - (uint64_t)part[1] - 1) / (0 - (uint64_t)part[2]) + 1;
    if (n > MAX_RANGE) return jinja_fail(run, HONE_ERR_LIMIT, "a range of more than %d elements", MAX_RANGE);
    jinja_range *range = jinja_get(run, 1, sizeof(*range));
    if (!range) return false;
    *range = (jinja_range){.start = part[0], .step = part[2], .stop = part[1], .n = (size_t)n};
    *out = (jinja_value){.type = JINJA_RANGE, .as.range = range};
    return true;
}

static bool add_pairs(jinja_run *run, jinja_dict *dict, jinja_value from) {
    jinja_list items;
    if (from.type == JINJA_DICT) {
        for (size_t i = 0; i < from.as.dict->n; i++)
            if (!jinja_dict_set(run, dict, from.as.dict->entry[i].key, from.as.dict->entry[i].value) ||
                !jinja_work(run, 1))
                return false;
        return true;
    }
    if (!jinja_iterate(run, from, &items)) return false;
    for (size_t i = 0; i < items.n; i++) {
        jinja_list pair;
        if (!jinja_work(run, 1) || !jinja_iterate(run, items.at[i], &pair)) return false;
        if (pair.n != 2)
            return jinja_fail(run, HONE_ERR_ARG, "dict: element %zu has %zu parts; 2 are needed", i, pair.n);
        if (!jinja_dict_set(run, dict, pair.at[0], pair.at[1])) return false;
    }
    return true;
}

static bool make_mapping(jinja_run *run, const char *what, const jinja_args *args, jinja_type type, jinja_value *out) {
    jinja_value slot;
    jinja_dict *dict = jinja_dict_new(run, args->n_kw);
    if (!dict || !jinja_bind(run, what, &(jinja_args){.at = args->at, .n = args->n}, 0, 1, NULL, &slot)) return false;
    if (slot.type != JINJA_MISSING && !add_pairs(run, dict, slot)) return false;
    for (size_t i = 0; i < args->n_kw; i++)
        if (!jinja_dict_set(run, dict, (jinja_value){.type = JINJA_STRING, .as.string = args->kw_name[i]}, args->kw[i]))
            return false;
    *out = (jinja_value){.type = (uint8_t)type, .as.dict = dict};
    return true;
}

static bool global_dict(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    (void)self;
    return make_mapping(run, "dict", args, JINJA_DICT, out);
}

static bool global_namespace(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    (void)self;
    if (!make_mapping(run, "namespace", args, JINJA_NAMESPACE, out)) return false;
    for (size_t i = 0; i < out->as.dict->n; i++) {
        const jinja_value key = out->as.dict->entry[i].key;
        if (key.type == JINJA_STRING && key.as.string->n && key.as.string->at[0] == '_')
            return jinja_fail(run, HONE_ERR_ARG, "a namespace takes no attributes that begin with an underscore");
    }
    return true;
}

/* ---- cycler and joiner ---- */

static bool global_cycler(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_cycler *cycler = jinja_get(run, 1, sizeof(*cycler));
    (void)self;
    if (!cycler ||
        !jinja_bind(run, "cycler", &(jinja_args){.kw = args->kw, .kw_name = args->kw_name, .n_kw = args->n_kw}, 0, 0,
                    NULL, NULL))
        return false;
    if (!args->n) return jinja_type_error(run, "at least one item has to be provided");
    *cycler = (jinja_cycler){{args->at, args->n}, 0};
    *out = (jinja_value){.type = JINJA_CYCLER, .as.cycler = cycler};
    return true;
}

static bool global_joiner(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"sep"};
    static const jinja_string comma = {", ", 2, 2};
    jinja_value slot;
    jinja_joiner *joiner = jinja_get(run, 1, sizeof(*joiner));
    (void)self;
    if (!joiner || !jinja_bind(run, "joiner", args, 0, 1, names, &slot)) return false;
    if (slot.type == JINJA_MISSING) slot = (jinja_value){.type = JINJA_STRING, .as.string = &comma};
    *joiner = (jinja_joiner){slot, false};
    *out = (jinja_value){.type = JINJA_JOINER, .as.joiner = joiner};
    return true;
}

/* ---- raise_exception ---- */

static bool global_raise(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"message"};
    jinja_value message;
    (void)self, (void)out;
    if (!jinja_bind(run, "raise_exception", args, 1, 1, names, &message) || !jinja_to_string(run, message, &message))
        return false;
    const jinja_string *s = message.as.string;
    /* the template's own words, without our line number: they are meant for whoever sent the conversation */
    hone_fail_at(run->err, HONE_ERR_ARG, run->line, "%.*s", (int)(s->n < 450 ? s->n : 450), s->at);
    return false;
}

/* ---- The clock ---- */

/* SOURCE_DATE_EPOCH in its reproducible-builds meaning: a decimal number of seconds since 1970. */
static time_t now(void) {
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    if (fixed && *fixed) {
        char *end;
        const long long seconds = strtoll(fixed, &end, 10);
        if (!*end && seconds >= 0) return (time_t)seconds;
    }
    return (time_t)hone_clock_unix();
}

static bool global_strftime_now(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"format"};
    jinja_value format;
    char plain[256], date[MAX_DATE];
    size_t n = 0;
    (void)self;
    if (!jinja_bind(run, "strftime_now", args, 1, 1, names, &format)) return false;
    if (format.type != JINJA_STRING) return jinja_type_error(run, "strftime_now: the format must be a str");
    const jinja_string *f = format.as.string;
    for (size_t i = 0; i < f->n; i++) { /* what datetime fills in itself: no zone, whole seconds */
        const char kind = f->at[i] == '%' && i + 1 < f->n ? f->at[i + 1] : 0;
        const char *with = kind == 'Z' || kind == 'z' ? "" : kind == 'f' ? "000000" : NULL;
        if (n + 8 > sizeof(plain)) return jinja_fail(run, HONE_ERR_LIMIT, "a date format of more than 240 bytes");
        if (f->at[i] == 0) return jinja_fail(run, HONE_ERR_ARG, "strftime_now: embedded null character");
        if (with) {
            memcpy(plain + n, with, strlen(with));
            n += strlen(with);
            i++;
            continue;
        }
        plain[n++] = f->at[i];
        if (kind) plain[n++] = f->at[++i];
    }
    plain[n] = 0;
    const time_t seconds = now();
    struct tm local;
    date[0] = 0;
    if (!localtime_r(&seconds, &local)) return jinja_fail(run, HONE_ERR_ARG, "strftime_now: the time cannot be told");
    n = n ? strftime(date, sizeof(date), plain, &local) : 0;
    return jinja_string_copy(run, date, n, out);
}

/* ---- Methods ---- */

static bool dict_get(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_value slot[2];
    if (!jinja_bind(run, "get", args, 1, 2, NULL, slot) || !jinja_dict_get(run, self.as.dict, slot[0], out))
        return false;
    if (out->type == JINJA_MISSING) *out = slot[1].type == JINJA_MISSING ? jinja_none() : slot[1];
    return true;
}

static bool dict_view(jinja_run *run, jinja_value self, const jinja_args *args, jinja_view_kind kind,
                      jinja_value *out) {
    jinja_view *view = jinja_get(run, 1, sizeof(*view));
    if (!view || !jinja_bind(run, "a view", args, 0, 0, NULL, NULL)) return false;
    *view = (jinja_view){self.as.dict, kind};
    *out = (jinja_value){.type = JINJA_VIEW, .as.view = view};
    return true;
}

static bool dict_keys(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return dict_view(run, self, args, JINJA_KEYS, out);
}

static bool dict_values(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return dict_view(run, self, args, JINJA_VALUES, out);
}

static bool dict_items(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return dict_view(run, self, args, JINJA_ITEMS, out);
}

/* Nothing can change the original, so it is its own copy. */
static bool copy(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    *out = self;
    return jinja_bind(run, "copy", args, 0, 0, NULL, NULL);
}

static bool sequence_find(jinja_run *run, jinja_value self, const jinja_args *args, bool count, jinja_value *out) {
    jinja_value wanted;
    jinja_list items;
    int64_t found = 0;
    if (!jinja_bind(run, count ? "count" : "index", args, 1, 1, NULL, &wanted) || !jinja_iterate(run, self, &items))
        return false;
    for (size_t i = 0; i < items.n; i++) {
        bool same = false;
        if (!jinja_work(run, 1) || !jinja_equal(run, items.at[i], wanted, &same)) return false;
        if (same && !count) {
            *out = jinja_int((int64_t)i);
            return true;
        }
        found += same;
    }
    *out = jinja_int(found);
    return count || jinja_fail(run, HONE_ERR_ARG, "index: the value is not in the %s", jinja_type_name(self));
}

static bool sequence_index(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return sequence_find(run, self, args, false, out);
}

static bool sequence_count(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return sequence_find(run, self, args, true, out);
}

static bool float_is_integer(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    int64_t whole;
    *out =
        jinja_bool(self.type != JINJA_FLOAT || (jinja_truncate(self.as.real, &whole) && (double)whole == self.as.real));
    return jinja_bind(run, "is_integer", args, 0, 0, NULL, NULL);
}

static bool cycler_next(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_cycler *c = self.as.cycler;
    *out = c->items.at[c->next];
    c->next = (c->next + 1) % c->items.n;
    return jinja_bind(run, "next", args, 0, 0, NULL, NULL);
}

static bool cycler_reset(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    self.as.cycler->next = 0;
    *out = jinja_none();
    return jinja_bind(run, "reset", args, 0, 0, NULL, NULL);
}

static bool loop_cycle(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    if (!args->n || args->n_kw) return jinja_type_error(run, "no items for cycling given");
    *out = args->at[self.as.loop->index0 % args->n];
    return true;
}

static bool loop_changed(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_loop *loop = self.as.loop;
    jinja_value *now_seen = jinja_get(run, 1, sizeof(*now_seen));
    bool same = false;
    if (!now_seen || !jinja_list_new(run, JINJA_TUPLE, args->at, args->n, now_seen)) return false;
    if (loop->changed && !jinja_equal(run, *loop->changed, *now_seen, &same)) return false;
    loop->changed = now_seen;
    *out = jinja_bool(!same);
    return true;
}

/* ---- The tables ---- */

static const struct {
    jinja_type type;
    jinja_method method;
} methods[] = {{JINJA_DICT, {"get", dict_get}},
               {JINJA_DICT, {"items", dict_items}},
               {JINJA_DICT, {"keys", dict_keys}},
               {JINJA_DICT, {"values", dict_values}},
               {JINJA_DICT, {"copy", copy}},
               {JINJA_LIST, {"index", sequence_index}},
               {JINJA_LIST, {"count", sequence_count}},
               {JINJA_LIST, {"copy", copy}},
               {JINJA_TUPLE, {"index", sequence_index}},
               {JINJA_TUPLE, {"count", sequence_count}},
               {JINJA_RANGE, {"index", sequence_index}},
               {JINJA_RANGE, {"count", sequence_count}},
               {JINJA_FLOAT, {"is_integer", float_is_integer}},
               {JINJA_CYCLER, {"next", cycler_next}},
               {JINJA_CYCLER, {"reset", cycler_reset}},
               {JINJA_LOOP, {"cycle", loop_cycle}},
               {JINJA_LOOP, {"changed", loop_changed}}};

const jinja_method *jinja_container_method(jinja_value v, const jinja_string *name) {
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++)
        if (methods[i].type == v.type && strlen(methods[i].method.name) == name->n &&
            memcmp(methods[i].method.name, name->at, name->n) == 0)
            return &methods[i].method;
    return NULL;
}

static const jinja_function globals[] = {{"range", global_range},
                                         {"dict", global_dict},
                                         {"namespace", global_namespace},
                                         {"cycler", global_cycler},
                                         {"joiner", global_joiner},
                                         {"raise_exception", global_raise},
                                         {"strftime_now", global_strftime_now}};

const jinja_function *jinja_global_find(const jinja_string *name) {
    for (size_t i = 0; i < sizeof(globals) / sizeof(*globals); i++)
        if (strlen(globals[i].name) == name->n && memcmp(globals[i].name, name->at, name->n) == 0) return &globals[i];
    return NULL;
}
