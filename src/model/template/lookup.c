/* lookup.c - a.b, a[b], a[b:c:d] and calls, with the sandbox's rules.
 *
 * a.b prefers the attribute and falls back to the item; a[b] the other way round; what neither has is undefined and not
 * an error.  Refused: names that begin with "__", and methods that would change a list or dictionary (undefined values
 * whose use is an error).  Order: arguments, attributes, items, slices, calls. */
#include <string.h>

#include "base/utf8.h"
#include "model/template/ast.h"
#include "model/template/value.h"

/* ---- Arguments ---- */

static bool same_text(const jinja_string *a, const char *b) {
    return a->n == strlen(b) && memcmp(a->at, b, a->n) == 0;
}

bool jinja_bind(jinja_run *run, const char *what, const jinja_args *args, size_t n_required, size_t n_slots,
                const char *const *names, jinja_value *slots) {
    if (args->n > n_slots)
        return jinja_type_error(run, "%s() takes at most %zu argument%s (%zu given)", what, n_slots,
                                n_slots == 1 ? "" : "s", args->n);
    for (size_t i = 0; i < n_slots; i++) slots[i] = i < args->n ? args->at[i] : jinja_missing();
    for (size_t k = 0; k < args->n_kw; k++) {
        const jinja_string *name = args->kw_name[k];
        const int n = (int)(name->n < 60 ? name->n : 60);
        size_t i = 0;
        while (names && i < n_slots && !same_text(name, names[i])) i++;
        if (!names || i == n_slots)
            return jinja_type_error(run, "%s() got an unexpected keyword argument '%.*s'", what, n, name->at);
        if (slots[i].type != JINJA_MISSING)
            return jinja_type_error(run, "%s() got multiple values for argument '%.*s'", what, n, name->at);
        slots[i] = args->kw[k];
    }
    for (size_t i = 0; i < n_required; i++)
        if (slots[i].type == JINJA_MISSING)
            return jinja_type_error(run, "%s() missing a required argument%s%s", what, names ? ": " : "",
                                    names ? names[i] : "");
    return true;
}

/* ---- Attributes ---- */

static bool is_forbidden(jinja_value object, const jinja_string *name) {
    static const char *const of_list[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
    static const char *const of_dict[] = {"clear", "pop", "popitem", "setdefault", "update"};
    if (name->n >= 2 && memcmp(name->at, "__", 2) == 0) return true;
    if (object.type == JINJA_LIST)
        for (size_t i = 0; i < sizeof(of_list) / sizeof(*of_list); i++)
            if (same_text(name, of_list[i])) return true;
    if (object.type == JINJA_DICT)
        for (size_t i = 0; i < sizeof(of_dict) / sizeof(*of_dict); i++)
            if (same_text(name, of_dict[i])) return true;
    return false;
}

static bool loop_attribute(jinja_run *run, jinja_loop *loop, const jinja_string *name, jinja_value *out) {
    const int64_t i = (int64_t)loop->index0, n = (int64_t)loop->items.n;
    if (same_text(name, "index"))
        *out = jinja_int(i + 1);
    else if (same_text(name, "index0"))
        *out = jinja_int(i);
    else if (same_text(name, "first"))
        *out = jinja_bool(i == 0);
    else if (same_text(name, "last"))
        *out = jinja_bool(i + 1 == n);
    else if (same_text(name, "length"))
        *out = jinja_int(n);
    else if (same_text(name, "revindex"))
        *out = jinja_int(n - i);
    else if (same_text(name, "revindex0"))
        *out = jinja_int(n - i - 1);
    else if (same_text(name, "depth"))
        *out = jinja_int((int64_t)loop->depth0 + 1);
    else if (same_text(name, "depth0"))
        *out = jinja_int((int64_t)loop->depth0);
    else if (same_text(name, "previtem")) {
        if (i == 0) return jinja_undefined_hint(run, "there is no previous item", out);
        *out = loop->items.at[i - 1];
    } else if (same_text(name, "nextitem")) {
        if (i + 1 >= n) return jinja_undefined_hint(run, "there is no next item", out);
        *out = loop->items.at[i + 1];
    }
    return true;
}

bool jinja_own_attribute(jinja_run *run, jinja_value object, const jinja_string *name, jinja_value *out) {
    *out = jinja_missing();
    if (object.type == JINJA_NAMESPACE && !same_text(name, "__class__"))
        return jinja_dict_get_text(run, object.as.dict, name, out);
    if (object.type == JINJA_LOOP) {
        if (!loop_attribute(run, object.as.loop, name, out)) return false;
        if (out->type != JINJA_MISSING) return true;
    }
    if (object.type == JINJA_TUPLE && object.safe) { /* a group made by groupby */
        if (same_text(name, "grouper")) *out = object.as.list->at[0];
        if (same_text(name, "list")) *out = object.as.list->at[1];
        if (out->type != JINJA_MISSING) return true;
    }
    if (object.type == JINJA_MACRO && same_text(name, "name") && object.as.macro->node->text) {
        *out = (jinja_value){.type = JINJA_STRING, .as.string = object.as.macro->node->text};
        return true;
    }
    if (object.type == JINJA_CYCLER && same_text(name, "current")) {
        *out = object.as.cycler->items.at[object.as.cycler->next];
        return true;
    }
    if (is_forbidden(object, name)) {
        static const char *const type_name = "object";
        return jinja_undefined_new(run, JINJA_UNSAFE, name,
                                   object.type == JINJA_NAMESPACE ? type_name : jinja_type_name(object), out);
    }
    const jinja_method *method =
        object.type == JINJA_STRING ? jinja_string_method(name) : jinja_container_method(object, name);
    if (!method) return true;
    jinja_bound *bound = jinja_get(run, 1, sizeof(*bound));
    if (!bound) return false;
    *bound = (jinja_bound){object, method};
    *out = (jinja_value){.type = JINJA_METHOD, .as.bound = bound};
    return true;
}

static const char *object_name(jinja_value v) {
    switch ((jinja_type)v.type) {
    case JINJA_NONE: return "None";
    case JINJA_BOOL: return "bool object";
    case JINJA_INT: return "int object";
    case JINJA_FLOAT: return "float object";
    case JINJA_STRING: return "str object";
    case JINJA_LIST: return "list object";
    case JINJA_TUPLE: return "tuple object";
    case JINJA_DICT: return "dict object";
    case JINJA_RANGE: return "range object";
    case JINJA_NAMESPACE: return "namespace object";
    case JINJA_LOOP: return "loop object";
    case JINJA_MACRO: return "macro object";
    default: return "object";
    }
}

bool jinja_attribute(jinja_run *run, jinja_value object, const jinja_string *name, jinja_value *out) {
    if (object.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, object);
    if (object.type == JINJA_DICT && name->n && name->at[0] == '_') { /* a key wins over what is forbidden */
        if (!jinja_dict_get_text(run, object.as.dict, name, out)) return false;
        if (out->type != JINJA_MISSING) return true;
    }
    if (!jinja_own_attribute(run, object, name, out)) return false;
    if (out->type != JINJA_MISSING) return true;
    if (object.type == JINJA_DICT) {
        if (!jinja_dict_get_text(run, object.as.dict, name, out)) return false;
        if (out->type != JINJA_MISSING) return true;
    }
    return jinja_undefined_new(run, JINJA_NO_ATTRIBUTE, name, object_name(object), out);
}

/* ---- Items ---- */

static bool is_sequence(jinja_value v) {
    return v.type == JINJA_STRING || v.type == JINJA_LIST || v.type == JINJA_TUPLE || v.type == JINJA_RANGE;
}

/* Element i of a sequence, negative from the end; JINJA_MISSING outside. */
static bool element(jinja_run *run, jinja_value v, int64_t i, jinja_value *out) {
    size_t n;
    *out = jinja_missing();
    if (!jinja_length(run, v, &n)) return false;
    if (i < 0) i += (int64_t)n;
    if (i < 0 || i >= (int64_t)n) return true;
    if (v.type == JINJA_STRING) return jinja_substring(run, v, (size_t)i, (size_t)i + 1, out);
    *out = v.type == JINJA_RANGE ? jinja_int(v.as.range->start + i * v.as.range->step) : v.as.list->at[i];
    return true;
}

static bool is_hashable(jinja_value v) {
    return v.type != JINJA_LIST && v.type != JINJA_DICT && v.type != JINJA_VIEW;
}

bool jinja_item(jinja_run *run, jinja_value object, jinja_value key, jinja_value *out) {
    if (object.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, object);
    *out = jinja_missing();
    if (object.type == JINJA_DICT && is_hashable(key)) {
        if (!jinja_dict_get(run, object.as.dict, key, out)) return false;
    } else if (is_sequence(object) && (key.type == JINJA_INT || key.type == JINJA_BOOL)) {
        const int64_t i = key.type == JINJA_INT ? key.as.integer : key.as.boolean;
        if (!element(run, object, i, out)) return false;
    }
    if (out->type != JINJA_MISSING) return true;
    if (key.type == JINJA_STRING) {
        if (!jinja_own_attribute(run, object, key.as.string, out)) return false;
        if (out->type != JINJA_MISSING) return true;
        return jinja_undefined_new(run, JINJA_NO_ATTRIBUTE, key.as.string, object_name(object), out);
    }
    jinja_text text = {0};
    jinja_value name;
    return jinja_repr(run, key, &text) && jinja_string_done(run, &text, &name) &&
           jinja_undefined_new(run, JINJA_NO_ELEMENT, name.as.string, object_name(object), out);
}

/* ---- Slices ---- */

/* Python's rule: missing ends depend on the direction, all is clamped.  *n elements from *start by *step. */
static void clamp(int64_t length, bool has_start, bool has_stop, int64_t *start, int64_t stop, int64_t step,
                  size_t *n) {
    const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;
    if (!has_start)
        *start = step < 0 ? high : low;
    else if (*start < 0)
        *start = *start < -length ? low : (*start + length < low ? low : *start + length);
    else if (*start > high)
        *start = high;
    if (!has_stop)
        stop = step < 0 ? low : high;
    else if (stop < 0)
        stop = stop < -length ? low : (stop + length < low ? low : stop + length);
    else if (stop > high)
        stop = high;
    *n = 0;
    if (step > 0 && *start < stop) *n = (size_t)((stop - *start - 1) / step) + 1;
    if (step < 0 && *start > stop) *n = (size_t)((*start - stop - 1) / -step) + 1;
}

static bool slice_string(jinja_run *run, jinja_value s, int64_t start, int64_t step, size_t n, jinja_value *out) {
    if (step == 1 || n == 0) {
        const bool ok = jinja_substring(run, s, (size_t)start, (size_t)start + n, out);
        return ok;
    }
    jinja_list chars;
    jinja_text text = {0};
    const bool safe = s.safe;
    if (!jinja_iterate(run, s, &chars)) return false;
    for (size_t i = 0; i < n; i++) {
        const jinja_string *one = chars.at[start + (int64_t)i * step].as.string;
        if (!jinja_put(run, &text, one->at, one->n) || !jinja_work(run, 1)) return false;
    }
    if (!jinja_string_done(run, &text, out)) return false;
    out->safe = safe;
    return true;
}

bool jinja_slice(jinja_run *run, jinja_value object, jinja_value start, jinja_value stop, jinja_value step,
                 jinja_value *out) {
    const jinja_value part[3] = {start, stop, step};
    int64_t at[3] = {0, 0, 1};
    size_t length, n;
    if (object.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, object);
    if (!is_sequence(object)) return jinja_type_error(run, "'%s' object cannot be sliced", jinja_type_name(object));
    for (int i = 0; i < 3; i++)
        if (part[i].type != JINJA_NONE && !jinja_index(run, part[i], "slice indices", &at[i])) return false;
    if (at[2] == 0) return jinja_fail(run, HONE_ERR_ARG, "slice step cannot be zero");
    if (at[2] < -INT64_MAX) at[2] = -INT64_MAX;
    if (!jinja_length(run, object, &length)) return false;
    clamp((int64_t)length, start.type != JINJA_NONE, stop.type != JINJA_NONE, &at[0], at[1], at[2], &n);
    if (object.type == JINJA_STRING) return slice_string(run, object, n ? at[0] : 0, at[2], n, out);
    if (object.type == JINJA_RANGE) {
        const jinja_range *r = object.as.range;
        jinja_range *part_of = jinja_get(run, 1, sizeof(*part_of));
        if (!part_of) return false;
        *part_of =
            (jinja_range){.start = r->start + (n ? at[0] : 0) * r->step, .step = n > 1 ? r->step * at[2] : 1, .n = n};
        part_of->stop = part_of->start + (int64_t)n * part_of->step;
        *out = (jinja_value){.type = JINJA_RANGE, .as.range = part_of};
        return true;
    }
    const jinja_list *list = object.as.list;
    if (at[2] == 1)
        return jinja_list_new(run, (jinja_type)object.type, list->at ? list->at + (n ? at[0] : 0) : NULL, n, out);
    jinja_value *items = jinja_get(run, n, sizeof(*items));
    if (!items || !jinja_work(run, n / 4)) return false;
    for (size_t i = 0; i < n; i++) items[i] = list->at[at[0] + (int64_t)i * at[2]];
    return jinja_list_new(run, (jinja_type)object.type, items, n, out);
}

/* ---- Calls ---- */

bool jinja_is_callable(jinja_value v) {
    return v.type == JINJA_MACRO || v.type == JINJA_FUNCTION || v.type == JINJA_METHOD || v.type == JINJA_LOOP ||
           v.type == JINJA_JOINER || v.type == JINJA_UNDEFINED;
}

bool jinja_invoke(jinja_run *run, jinja_value callee, const jinja_args *args, jinja_value *out) {
    switch ((jinja_type)callee.type) {
    case JINJA_MACRO: return jinja_call_macro(run, callee.as.macro, args, out);
    case JINJA_FUNCTION: return callee.as.function->call(run, jinja_none(), args, out);
    case JINJA_METHOD: return callee.as.bound->method->call(run, callee.as.bound->self, args, out);
    case JINJA_LOOP: {
        jinja_value items;
        return jinja_bind(run, "loop", args, 1, 1, NULL, &items) && jinja_call_loop(run, callee.as.loop, items, out);
    }
    case JINJA_JOINER: {
        static const jinja_string nothing = {"", 0, 0};
        if (!jinja_bind(run, "joiner", args, 0, 0, NULL, NULL)) return false;
        *out = callee.as.joiner->used ? callee.as.joiner->separator
                                      : (jinja_value){.type = JINJA_STRING, .as.string = &nothing};
        callee.as.joiner->used = true;
        return true;
    }
    case JINJA_UNDEFINED: return jinja_fail_undefined(run, callee);
    default: return jinja_type_error(run, "'%s' object is not callable", jinja_type_name(callee));
    }
}
