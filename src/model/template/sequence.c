/* sequence.c - filters over sequences and mappings, and the stable sort under several of them.
 *
 * What Python gives as a generator is one here too: it has no length, is always true and can be read once; but it is
 * computed at once.  Order: sorting, attributes of elements, choosing, mapping, ordering, grouping, joining, the table.
 */
#include <string.h>

#include "model/template/value.h"

#define N(a) (sizeof(a) / sizeof(*(a)))

/* ---- Sorting ---- */

bool jinja_sort(jinja_run *run, const jinja_value *keys, size_t n, bool reverse, size_t *order) {
    size_t *from = order, *to = jinja_get(run, n, sizeof(*to));
    if (!to) return false;
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t width = 1; width < n; width *= 2) { /* merges runs of `width` */
        for (size_t low = 0; low < n; low += 2 * width) {
            const size_t middle = low + width < n ? low + width : n, high = middle + width < n ? middle + width : n;
            for (size_t a = low, b = middle, k = low; k < high; k++) {
                int c = 0; /* whether the right one must come first: it stays behind what it equals */
                if (a < middle && b < high) {
                    const jinja_value left = keys[from[a]], right = keys[from[b]];
                    if (!jinja_work(run, 1) || !(reverse ? jinja_compare(run, left, right, "<", &c)
                                                         : jinja_compare(run, right, left, "<", &c)))
                        return false;
                }
                to[k] = b == high || (a < middle && c != -1) ? from[a++] : from[b++];
            }
        }
        size_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != order) memcpy(order, from, n * sizeof(*order));
    return true;
}

/* ---- Attributes of elements: "a.b.0" ---- */

static bool dig(jinja_run *run, jinja_value v, jinja_value path, jinja_value otherwise, jinja_value *out) {
    *out = v;
    if (path.type == JINJA_NONE || path.type == JINJA_MISSING) return true;
    if (path.type != JINJA_STRING) {
        if (!jinja_item(run, v, path, out)) return false;
        if (out->type == JINJA_UNDEFINED && otherwise.type != JINJA_MISSING) *out = otherwise;
        return true;
    }
    const jinja_string *s = path.as.string;
    for (size_t from = 0; from <= s->n;) {
        const char *dot = memchr(s->at + from, '.', s->n - from);
        const size_t end = dot ? (size_t)(dot - s->at) : s->n;
        jinja_value key;
        int64_t i;
        bool too_large, digits = end > from;
        for (size_t k = from; k < end; k++) digits = digits && s->at[k] >= '0' && s->at[k] <= '9';
        const jinja_string part = {s->at + from, end - from, 0};
        if (!jinja_work(run, 1) || !jinja_string_borrow(run, part.at, part.n, &key)) return false;
        if (digits && jinja_parse_int(&part, 10, &i, &too_large)) key = jinja_int(i);
        if (!jinja_item(run, *out, key, out)) return false;
        if (out->type == JINJA_UNDEFINED && otherwise.type != JINJA_MISSING) *out = otherwise;
        from = end + 1;
    }
    return true;
}

static bool lower_if_text(jinja_run *run, jinja_value *v) {
    return v->type != JINJA_STRING || jinja_string_lower(run, *v, &(jinja_args){0}, v);
}

/* The sort key of every element; several attributes, with commas between them, make a list. */
static bool keys_of(jinja_run *run, const jinja_list *items, jinja_value path, bool case_sensitive,
                    jinja_value otherwise, bool several, jinja_value **out) {
    jinja_value *keys = jinja_get(run, items->n, sizeof(*keys));
    if (!keys) return false;
    several = several && path.type == JINJA_STRING && memchr(path.as.string->at, ',', path.as.string->n);
    for (size_t i = 0; i < items->n; i++) {
        if (!jinja_work(run, 1)) return false;
        if (!several) {
            if (!dig(run, items->at[i], path, otherwise, &keys[i]) ||
                (!case_sensitive && !lower_if_text(run, &keys[i])))
                return false;
            continue;
        }
        jinja_items parts = {0};
        const jinja_string *s = path.as.string;
        for (size_t from = 0; from <= s->n;) {
            const char *comma = memchr(s->at + from, ',', s->n - from);
            const size_t end = comma ? (size_t)(comma - s->at) : s->n;
            jinja_value one, key;
            if (!jinja_string_borrow(run, s->at + from, end - from, &one) ||
                !dig(run, items->at[i], one, otherwise, &key) || (!case_sensitive && !lower_if_text(run, &key)) ||
                !jinja_items_add(run, &parts, key))
                return false;
            from = end + 1;
        }
        if (!jinja_list_new(run, JINJA_LIST, parts.at, parts.n, &keys[i])) return false;
    }
    *out = keys;
    return true;
}

static bool truthy(jinja_value slot) {
    return slot.type != JINJA_MISSING && jinja_truth(slot);
}

static bool give_generator(jinja_run *run, const jinja_items *items, jinja_value *out) {
    return jinja_iterator_new(run, "generator", items->at, items->n, out);
}

/* ---- Choosing ---- */

static bool choose(jinja_run *run, jinja_value self, const jinja_args *args, bool wanted, bool by_attribute,
                   jinja_value *out) {
    jinja_items kept = {0};
    jinja_list items = {0};
    jinja_args rest = *args;
    jinja_value path = jinja_none();
    jinja_call *test = NULL;
    if (!jinja_truth(self)) return give_generator(run, &kept, out);
    if (by_attribute) {
        if (!rest.n) return jinja_type_error(run, "missing parameter for attribute name");
        path = *rest.at++;
        rest.n--;
    }
    if (rest.n) {
        const jinja_value name = *rest.at++;
        rest.n--;
        if (name.type == JINJA_STRING) test = jinja_test_find(name.as.string);
        if (!test) {
            const bool is_text = name.type == JINJA_STRING;
            return jinja_fail(run, HONE_ERR_UNSUPPORTED, "no test named '%.*s'",
                              is_text ? (int)(name.as.string->n < 60 ? name.as.string->n : 60) : 1,
                              is_text ? name.as.string->at : "?");
        }
    }
    if (!jinja_iterate(run, self, &items)) return false;
    for (size_t i = 0; i < items.n; i++) {
        jinja_value v, verdict;
        if (!jinja_work(run, 1) || !dig(run, items.at[i], path, jinja_missing(), &v)) return false;
        verdict = v;
        if (test && !test(run, v, &rest, &verdict)) return false;
        if (jinja_truth(verdict) == wanted && !jinja_items_add(run, &kept, items.at[i])) return false;
    }
    return give_generator(run, &kept, out);
}

static bool filter_select(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return choose(run, self, args, true, false, out);
}

static bool filter_reject(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return choose(run, self, args, false, false, out);
}

static bool filter_selectattr(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return choose(run, self, args, true, true, out);
}

static bool filter_rejectattr(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return choose(run, self, args, false, true, out);
}

static bool filter_first(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_list items;
    if (!jinja_bind(run, "first", args, 0, 0, NULL, NULL)) return false;
    if (self.type == JINJA_STRING && self.as.string->n) return jinja_substring(run, self, 0, 1, out);
    if (self.type == JINJA_ITERATOR) { /* takes one and leaves the rest */
        jinja_iterator *it = self.as.iterator;
        if (it->next < it->items.n) {
            *out = it->items.at[it->next++];
            return true;
        }
    }
    if (!jinja_iterate(run, self, &items)) return false;
    if (!items.n) return jinja_undefined_hint(run, "No first item, sequence was empty.", out);
    *out = items.at[0];
    return true;
}

static bool filter_last(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_list items;
    if (!jinja_bind(run, "last", args, 0, 0, NULL, NULL)) return false;
    if (self.type == JINJA_ITERATOR)
        return jinja_type_error(run, "'%s' object is not reversible", jinja_type_name(self));
    if (self.type == JINJA_STRING && self.as.string->n)
        return jinja_substring(run, self, self.as.string->n_chars - 1, self.as.string->n_chars, out);
    if (!jinja_iterate(run, self, &items)) return false;
    if (!items.n) return jinja_undefined_hint(run, "No last item, sequence was empty.", out);
    *out = items.at[items.n - 1];
    return true;
}

static bool extreme(jinja_run *run, jinja_value self, const jinja_args *args, bool largest, jinja_value *out) {
    static const char *const names[] = {"case_sensitive", "attribute"};
    jinja_value slot[2], *keys;
    jinja_list items;
    size_t best = 0;
    if (!jinja_bind(run, largest ? "max" : "min", args, 0, 2, names, slot) || !jinja_iterate(run, self, &items))
        return false;
    if (!items.n) return jinja_undefined_hint(run, "No aggregated item, sequence was empty.", out);
    if (!keys_of(run, &items, slot[1], truthy(slot[0]), jinja_missing(), false, &keys)) return false;
    for (size_t i = 1; i < items.n; i++) {
        int c;
        if (!jinja_compare(run, keys[i], keys[best], largest ? ">" : "<", &c)) return false;
        if (c == (largest ? 1 : -1)) best = i;
    }
    *out = items.at[best];
    return true;
}

static bool filter_min(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return extreme(run, self, args, false, out);
}

static bool filter_max(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    return extreme(run, self, args, true, out);
}

static bool filter_unique(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"case_sensitive", "attribute"};
    jinja_value slot[2], *keys;
    jinja_list items;
    jinja_items kept = {0};
    jinja_dict *seen = jinja_dict_new(run, 0);
    if (!seen || !jinja_bind(run, "unique", args, 0, 2, names, slot) || !jinja_iterate(run, self, &items) ||
        !keys_of(run, &items, slot[1], truthy(slot[0]), jinja_missing(), false, &keys))
        return false;
    for (size_t i = 0; i < items.n; i++) {
        const size_t before = seen->n;
        if (!jinja_work(run, 1) || !jinja_dict_set(run, seen, keys[i], jinja_none())) return false;
        if (seen->n > before && !jinja_items_add(run, &kept, items.at[i])) return false;
    }
    return give_generator(run, &kept, out);
}

/* ---- Mapping ---- */

static bool filter_map(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"attribute", "default"};
    jinja_value slot[2] = {jinja_missing(), jinja_missing()};
    jinja_items made = {0};
    jinja_list items;
    jinja_args rest = *args;
    jinja_call *filter = NULL;
    if (!jinja_truth(self)) return give_generator(run, &made, out);
    if (!rest.n) {
        if (!jinja_bind(run, "map", args, 0, 2, names, slot)) return false;
        if (slot[0].type == JINJA_MISSING) return jinja_type_error(run, "map requires a filter argument");
        if (slot[1].type == JINJA_NONE) slot[1] = jinja_missing();
    } else {
        const jinja_value name = *rest.at++;
        rest.n--;
        if (name.type == JINJA_STRING) filter = jinja_filter_find(name.as.string);
        if (!filter)
            return jinja_fail(run, HONE_ERR_UNSUPPORTED, "map: no filter named '%.*s'",
                              name.type == JINJA_STRING ? (int)(name.as.string->n < 60 ? name.as.string->n : 60) : 1,
                              name.type == JINJA_STRING ? name.as.string->at : "?");
    }
    if (!jinja_iterate(run, self, &items) || !jinja_enter(run)) return false;
    for (size_t i = 0; i < items.n; i++) {
        jinja_value v;
        if (!jinja_work(run, 1) ||
            !(filter ? filter(run, items.at[i], &rest, &v) : dig(run, items.at[i], slot[0], slot[1], &v)) ||
            !jinja_items_add(run, &made, v))
            return false;
    }
    jinja_leave(run);
    return give_generator(run, &made, out);
}

static bool filter_list(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_list items;
    return jinja_bind(run, "list", args, 0, 0, NULL, NULL) && jinja_iterate(run, self, &items) &&
           jinja_list_new(run, JINJA_LIST, items.at, items.n, out);
}

static bool filter_items(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_list pairs = {0};
    if (!jinja_bind(run, "items", args, 0, 0, NULL, NULL)) return false;
    if (self.type != JINJA_DICT && self.type != JINJA_UNDEFINED)
        return jinja_type_error(run, "can only get item pairs from a mapping");
    if (self.type == JINJA_DICT) {
        const jinja_view view = {self.as.dict, JINJA_ITEMS};
        if (!jinja_iterate(run, (jinja_value){.type = JINJA_VIEW, .as.view = &view}, &pairs)) return false;
    }
    return jinja_iterator_new(run, "generator", pairs.at, pairs.n, out);
}

static bool filter_length(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    size_t n;
    if (!jinja_bind(run, "length", args, 0, 0, NULL, NULL) || !jinja_length(run, self, &n)) return false;
    *out = jinja_int((int64_t)n);
    return true;
}

static bool filter_sum(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"attribute", "start"};
    jinja_value slot[2];
    jinja_list items;
    if (!jinja_bind(run, "sum", args, 0, 2, names, slot) || !jinja_iterate(run, self, &items)) return false;
    *out = slot[1].type == JINJA_MISSING ? jinja_int(0) : slot[1];
    if (out->type == JINJA_STRING) return jinja_type_error(run, "sum() can't sum strings");
    for (size_t i = 0; i < items.n; i++) {
        jinja_value v;
        if (!jinja_work(run, 1) || !dig(run, items.at[i], slot[0], jinja_missing(), &v) ||
            !jinja_arithmetic(run, JINJA_ADD, *out, v, out))
            return false;
    }
    return true;
}

/* ---- Ordering ---- */

static bool in_order(jinja_run *run, const jinja_list *items, const jinja_value *keys, bool reverse,
                     jinja_value **out) {
    size_t *order = jinja_get(run, items->n, sizeof(*order));
    jinja_value *sorted = jinja_get(run, items->n, sizeof(*sorted));
    if (!order || !sorted || !jinja_sort(run, keys, items->n, reverse, order)) return false;
    for (size_t i = 0; i < items->n; i++) sorted[i] = items->at[order[i]];
    *out = sorted;
    return true;
}

static bool filter_sort(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"reverse", "case_sensitive", "attribute"};
    jinja_value slot[3], *keys, *sorted;
    jinja_list items;
    return jinja_bind(run, "sort", args, 0, 3, names, slot) && jinja_iterate(run, self, &items) &&
           keys_of(run, &items, slot[2], truthy(slot[1]), jinja_missing(), true, &keys) &&
           in_order(run, &items, keys, truthy(slot[0]), &sorted) &&
           jinja_list_new(run, JINJA_LIST, sorted, items.n, out);
}

static bool filter_dictsort(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"case_sensitive", "by", "reverse"};
    jinja_value slot[3], *keys, *sorted;
    jinja_list items;
    int64_t by = 0;
    if (!jinja_bind(run, "dictsort", args, 0, 3, names, slot)) return false;
    if (slot[1].type != JINJA_MISSING) {
        by = jinja_string_is(slot[1], "value");
        if (!by && !jinja_string_is(slot[1], "key"))
            return jinja_fail(run, HONE_ERR_ARG, "dictsort: by must be \"key\" or \"value\"");
    }
    if (self.type == JINJA_UNDEFINED) return jinja_fail_undefined(run, self);
    if (self.type != JINJA_DICT)
        return jinja_type_error(run, "dictsort: a mapping is needed, not %s", jinja_type_name(self));
    const jinja_view view = {self.as.dict, JINJA_ITEMS};
    return jinja_iterate(run, (jinja_value){.type = JINJA_VIEW, .as.view = &view}, &items) &&
           keys_of(run, &items, jinja_int(by), truthy(slot[0]), jinja_missing(), false, &keys) &&
           in_order(run, &items, keys, truthy(slot[2]), &sorted) &&
           jinja_list_new(run, JINJA_LIST, sorted, items.n, out);
}

static bool filter_reverse(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    jinja_list items;
    if (!jinja_bind(run, "reverse", args, 0, 0, NULL, NULL)) return false;
    if (self.type == JINJA_STRING) return jinja_slice(run, self, jinja_none(), jinja_none(), jinja_int(-1), out);
    if (!jinja_is_iterable(self)) return jinja_type_error(run, "argument must be iterable");
    if (!jinja_iterate(run, self, &items)) return false;
    jinja_value *turned = jinja_get(run, items.n, sizeof(*turned));
    if (!turned || !jinja_work(run, items.n / 4)) return false;
    for (size_t i = 0; i < items.n; i++) turned[i] = items.at[items.n - 1 - i];
    if (self.type == JINJA_ITERATOR) return jinja_list_new(run, JINJA_LIST, turned, items.n, out);
    return jinja_iterator_new(run, "list_reverseiterator", turned, items.n, out);
}

/* ---- Grouping ---- */

static bool filter_groupby(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"attribute", "default", "case_sensitive"};
    jinja_value slot[3], *keys, *sorted, *sorted_keys;
    jinja_list items, key_list;
    jinja_items groups = {0};
    if (!jinja_bind(run, "groupby", args, 1, 3, names, slot) || !jinja_iterate(run, self, &items)) return false;
    if (slot[1].type == JINJA_NONE) slot[1] = jinja_missing();
    if (!keys_of(run, &items, slot[0], truthy(slot[2]), slot[1], false, &keys) ||
        !in_order(run, &items, keys, false, &sorted))
        return false;
    key_list = (jinja_list){keys, items.n};
    if (!in_order(run, &key_list, keys, false, &sorted_keys)) return false;
    for (size_t i = 0, j; i < items.n; i = j) {
        bool same = true;
        for (j = i + 1; j < items.n; j++) {
            if (!jinja_work(run, 1) || !jinja_equal(run, sorted_keys[i], sorted_keys[j], &same)) return false;
            if (!same) break;
        }
        jinja_value key, list, group;
        if (!dig(run, sorted[i], slot[0], slot[1], &key) ||
            !jinja_list_new(run, JINJA_LIST, sorted + i, j - i, &list) || !jinja_pair(run, key, list, &group))
            return false;
        group.safe = true; /* on a tuple: it has .grouper and .list */
        if (!jinja_items_add(run, &groups, group)) return false;
    }
    return jinja_list_new(run, JINJA_LIST, groups.at, groups.n, out);
}

/* list[from, to) and then `fill` times filler, as a list added to rows. */
static bool add_row(jinja_run *run, const jinja_list *list, size_t from, size_t to, size_t fill, jinja_value filler,
                    jinja_items *rows) {
    jinja_value row;
    jinja_value *items = jinja_get(run, to - from + fill, sizeof(*items));
    if (!items || !jinja_work(run, to - from + fill + 1)) return false;
    for (size_t i = from; i < to; i++) items[i - from] = list->at[i];
    for (size_t i = 0; i < fill; i++) items[to - from + i] = filler;
    return jinja_list_new(run, JINJA_LIST, items, to - from + fill, &row) && jinja_items_add(run, rows, row);
}

static bool has_filler(jinja_value v) {
    return v.type != JINJA_MISSING && v.type != JINJA_NONE;
}

static bool filter_batch(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"linecount", "fill_with"};
    jinja_value slot[2];
    jinja_list items;
    jinja_items rows = {0};
    int64_t n;
    if (!jinja_bind(run, "batch", args, 1, 2, names, slot) || !jinja_index(run, slot[0], "linecount", &n) ||
        !jinja_iterate(run, self, &items))
        return false;
    const size_t size = n < 1 ? items.n + 1 : (size_t)n;
    for (size_t i = 0; i < items.n; i += size) {
        const size_t to = size < items.n - i ? i + size : items.n;
        const size_t fill = has_filler(slot[1]) && n > 0 ? size - (to - i) : 0;
        if (!add_row(run, &items, i, to, fill, slot[1], &rows)) return false;
        if (to == items.n) break;
    }
    return give_generator(run, &rows, out);
}

static bool filter_slice(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"slices", "fill_with"};
    jinja_value slot[2];
    jinja_list items;
    jinja_items rows = {0};
    int64_t n;
    size_t from = 0;
    if (!jinja_bind(run, "slice", args, 1, 2, names, slot) || !jinja_index(run, slot[0], "slices", &n) ||
        !jinja_iterate(run, self, &items))
        return false;
    if (n == 0) return jinja_fail(run, HONE_ERR_ARG, "division by zero");
    for (size_t i = 0; n > 0 && i < (size_t)n; i++) {
        const bool extra = i < items.n % (size_t)n;
        const size_t to = from + items.n / (size_t)n + extra;
        if (!add_row(run, &items, from, to, !extra && has_filler(slot[1]), slot[1], &rows)) return false;
        from = to;
    }
    return give_generator(run, &rows, out);
}

/* ---- Joining ---- */

static bool filter_join(jinja_run *run, jinja_value self, const jinja_args *args, jinja_value *out) {
    static const char *const names[] = {"d", "attribute"};
    static const jinja_string nothing = {"", 0, 0};
    jinja_value slot[2], separator = {.type = JINJA_STRING, .as.string = &nothing};
    jinja_list items;
    if (!jinja_bind(run, "join", args, 0, 2, names, slot) || !jinja_iterate(run, self, &items)) return false;
    if (slot[0].type != JINJA_MISSING && !jinja_to_string(run, slot[0], &separator)) return false;
    if (slot[1].type != JINJA_MISSING && slot[1].type != JINJA_NONE) {
        jinja_value *parts = jinja_get(run, items.n, sizeof(*parts));
        if (!parts) return false;
        for (size_t i = 0; i < items.n; i++)
            if (!dig(run, items.at[i], slot[1], jinja_missing(), &parts[i])) return false;
        items.at = parts;
    }
    return jinja_join(run, separator, &items, true, out);
}

/* ---- The table ---- */

static const jinja_named_call filters[] = {
    {"batch", filter_batch},     {"count", filter_length},    {"dictsort", filter_dictsort},
    {"first", filter_first},     {"groupby", filter_groupby}, {"items", filter_items},
    {"join", filter_join},       {"last", filter_last},       {"length", filter_length},
    {"list", filter_list},       {"map", filter_map},         {"max", filter_max},
    {"min", filter_min},         {"reject", filter_reject},   {"rejectattr", filter_rejectattr},
    {"reverse", filter_reverse}, {"select", filter_select},   {"selectattr", filter_selectattr},
    {"slice", filter_slice},     {"sort", filter_sort},       {"sum", filter_sum},
    {"unique", filter_unique}};

jinja_call *jinja_sequence_filter_find(const jinja_string *name) {
    return jinja_table_find(filters, N(filters), name);
}
