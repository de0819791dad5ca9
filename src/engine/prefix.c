/* prefix.c - nodes, their hash table and the two lists of idle pages; the contract is in prefix.h.
 * Order: open and close, lists, finding and entering, use and idleness, pins, self-check. */
#include "engine/prefix.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/mem.h"

#define NONE HONE_PREFIX_NONE

typedef struct {
    int32_t token[HONE_KV_PAGE];
    hone_prefix_key key;
    bool in_tree, pinned, idle;
    uint32_t parent, n_child;
    uint32_t bucket, next_in_bucket;
    uint32_t older, newer; /* neighbours among idle pages */
} node;

typedef struct {
    uint32_t oldest, newest, n;
} idle_list;

struct hone_prefix {
    uint32_t n_page, n_bucket, n_in_tree, n_pinned, max_pinned;
    uint64_t seed;     /* of the hash: nobody outside can aim at one bucket */
    node *node;        /* [n_page] */
    uint32_t *bucket;  /* [n_bucket] first page */
    uint32_t *mark;    /* [n_page] scratch of the self-check */
    idle_list list[2]; /* ordinary, pinned */
};

/* --- open and close --- */

static uint32_t buckets_for(uint32_t n_page) {
    uint32_t n = 16;
    while (n < n_page && n < 1u << 30) n *= 2;
    return n;
}

uint64_t hone_prefix_plan(uint32_t n_page) {
    return sizeof(hone_prefix) + (uint64_t)n_page * (sizeof(node) + sizeof(uint32_t)) +
           (uint64_t)buckets_for(n_page) * sizeof(uint32_t);
}

hone_status hone_prefix_open(hone_prefix **out, uint32_t n_page, uint32_t max_pinned, hone_error *err) {
    *out = NULL;
    hone_prefix *p = hone_zalloc(1, sizeof(*p));
    if (!p) goto fail;
    p->n_page = n_page;
    p->n_bucket = buckets_for(n_page);
    p->max_pinned = max_pinned;
    p->seed = (uint64_t)hone_clock_ns();
    p->list[0] = p->list[1] = (idle_list){.oldest = NONE, .newest = NONE};
    if (!(p->node = hone_zalloc(n_page, sizeof(*p->node)))) goto fail;
    if (!(p->mark = hone_zalloc(n_page, sizeof(*p->mark)))) goto fail;
    if (!(p->bucket = hone_zalloc(p->n_bucket, sizeof(*p->bucket)))) goto fail;
    for (uint32_t i = 0; i < p->n_bucket; i++) p->bucket[i] = NONE;
    *out = p;
    return HONE_OK;
fail:
    hone_prefix_close(p);
    return hone_fail(err, HONE_ERR_NOMEM, "no memory for a prefix tree of %u pages", n_page);
}

void hone_prefix_close(hone_prefix *p) {
    if (!p) return;
    hone_free(p->bucket);
    hone_free(p->mark);
    hone_free(p->node);
    hone_free(p);
}

/* --- lists --- */

static void append(hone_prefix *p, uint32_t page) {
    node *n = &p->node[page];
    idle_list *l = &p->list[n->pinned];
    n->idle = true;
    n->older = l->newest;
    n->newer = NONE;
    if (l->newest == NONE)
        l->oldest = page;
    else
        p->node[l->newest].newer = page;
    l->newest = page;
    l->n++;
}

static void take_out(hone_prefix *p, uint32_t page) {
    node *n = &p->node[page];
    idle_list *l = &p->list[n->pinned];
    if (n->older == NONE)
        l->oldest = n->newer;
    else
        p->node[n->older].newer = n->newer;
    if (n->newer == NONE)
        l->newest = n->older;
    else
        p->node[n->newer].older = n->older;
    n->idle = false;
    l->n--;
}

/* --- finding and entering --- */

static const hone_prefix_key *key_of(const hone_prefix_path *path, uint32_t index) {
    return ((uint64_t)index + 1) * HONE_KV_PAGE <= path->applies_from ? path->base : path->own;
}

static uint32_t bucket_of(const hone_prefix *p, uint32_t parent, const hone_prefix_key *key, const int32_t *token) {
    uint64_t words[HONE_KV_PAGE / 2 + 2];
    memcpy(words, token, HONE_KV_PAGE * sizeof(*token));
    memcpy(&words[HONE_KV_PAGE / 2], key->text, sizeof(uint64_t)); /* a part of a digest spreads as well as all of it */
    words[HONE_KV_PAGE / 2 + 1] = parent;
    return (uint32_t)(XXH64(words, sizeof(words), p->seed) & (p->n_bucket - 1));
}

uint32_t hone_prefix_find(const hone_prefix *p, uint32_t parent, const hone_prefix_path *path, uint32_t index) {
    const int32_t *token = path->token + (size_t)index * HONE_KV_PAGE;
    const hone_prefix_key *key = key_of(path, index);
    uint32_t at = p->bucket[bucket_of(p, parent, key, token)];
    for (; at != NONE; at = p->node[at].next_in_bucket) {
        const node *n = &p->node[at];
        if (n->parent == parent && !memcmp(n->token, token, sizeof(n->token)) && !strcmp(n->key.text, key->text))
            return at;
    }
    return NONE;
}

void hone_prefix_insert(hone_prefix *p, uint32_t page, uint32_t parent, const hone_prefix_path *path, uint32_t index) {
    assert(!p->node[page].in_tree && hone_prefix_find(p, parent, path, index) == NONE);
    const int32_t *token = path->token + (size_t)index * HONE_KV_PAGE;
    const hone_prefix_key *key = key_of(path, index);
    const uint32_t bucket = bucket_of(p, parent, key, token);
    node *n = &p->node[page];
    *n = (node){.in_tree = true, .key = *key, .parent = parent, .bucket = bucket, .older = NONE, .newer = NONE};
    memcpy(n->token, token, sizeof(n->token));
    n->next_in_bucket = p->bucket[bucket];
    p->bucket[bucket] = page;
    if (parent != NONE) p->node[parent].n_child++;
    p->n_in_tree++;
}

/* --- use and idleness --- */

void hone_prefix_use(hone_prefix *p, uint32_t page) {
    take_out(p, page);
}

void hone_prefix_idle(hone_prefix *p, uint32_t page) {
    append(p, page);
}

uint32_t hone_prefix_evict(hone_prefix *p) {
    const uint32_t page = p->list[0].oldest;
    if (page == NONE) return NONE;
    node *n = &p->node[page];
    assert(n->n_child == 0);
    take_out(p, page);
    uint32_t *at = &p->bucket[n->bucket];
    while (*at != page) at = &p->node[*at].next_in_bucket;
    *at = n->next_in_bucket;
    if (n->parent != NONE) p->node[n->parent].n_child--;
    n->in_tree = false;
    p->n_in_tree--;
    return page;
}

/* --- pins --- */

bool hone_prefix_unpin(hone_prefix *p) {
    const uint32_t page = p->list[1].oldest;
    if (page == NONE) return false;
    take_out(p, page);
    p->node[page].pinned = false;
    p->n_pinned--;
    append(p, page); /* behind its unpinned children: they were idle before it */
    return true;
}

bool hone_prefix_pin(hone_prefix *p, uint32_t page) {
    node *n = &p->node[page];
    assert(n->in_tree && !n->idle && (n->parent == NONE || p->node[n->parent].pinned));
    if (n->pinned) return true;
    if (p->n_pinned >= p->max_pinned && (p->max_pinned == 0 || !hone_prefix_unpin(p))) return false;
    n->pinned = true;
    p->n_pinned++;
    return true;
}

/* --- what kv.c asks --- */

bool hone_prefix_has(const hone_prefix *p, uint32_t page) {
    return p->node[page].in_tree;
}
uint32_t hone_prefix_pages(const hone_prefix *p) {
    return p->n_in_tree;
}
uint32_t hone_prefix_idle_pages(const hone_prefix *p) {
    return p->list[0].n;
}
uint32_t hone_prefix_idle_pins(const hone_prefix *p) {
    return p->list[1].n;
}
uint32_t hone_prefix_parent(const hone_prefix *p, uint32_t page) {
    return p->node[page].parent;
}

/* --- self-check --- */

static const char *check_list(const hone_prefix *p, uint32_t which) {
    const idle_list *l = &p->list[which];
    uint32_t n = 0, before = NONE;
    for (uint32_t at = l->oldest; at != NONE; at = p->node[at].newer) {
        const node *x = &p->node[at];
        if (n++ == p->n_page) return "a list of idle pages has a ring";
        if (!x->in_tree || !x->idle || x->pinned != (which == 1)) return "a page stands in a list that is not its own";
        if (x->older != before) return "a list of idle pages has a broken link";
        /* mark counts the children that were not passed yet, in either list */
        if (p->mark[at]) return "an idle page stands before its child";
        if (x->parent != NONE) p->mark[x->parent]--;
        before = at;
    }
    if (n != l->n || before != l->newest) return "a list of idle pages is miscounted";
    return NULL;
}

const char *hone_prefix_check(const hone_prefix *p, const uint32_t *users) {
    uint32_t in_tree = 0, pinned = 0, idle = 0;
    memset(p->mark, 0, p->n_page * sizeof(*p->mark));
    for (uint32_t i = 0; i < p->n_page; i++) {
        const node *n = &p->node[i];
        if (!n->in_tree) continue;
        in_tree++;
        pinned += n->pinned;
        idle += n->idle;
        if (n->idle != (users[i] == 0)) return "a page is idle and in use";
        if (n->parent == NONE) continue;
        if (n->parent >= p->n_page || !p->node[n->parent].in_tree) return "a page of the tree has no parent";
        if (users[n->parent] < users[i]) return "a page has more users than its parent";
        if (n->pinned && !p->node[n->parent].pinned) return "a pinned page has a parent that is not";
        p->mark[n->parent]++;
    }
    if (in_tree != p->n_in_tree || pinned != p->n_pinned) return "pages of the tree are miscounted";
    if (pinned > p->max_pinned) return "too many pages are pinned";
    if (idle != p->list[0].n + p->list[1].n) return "an idle page is in no list";
    for (uint32_t i = 0; i < p->n_page; i++)
        if (p->node[i].in_tree && p->mark[i] != p->node[i].n_child) return "children are miscounted";
    uint32_t hashed = 0;
    for (uint32_t b = 0; b < p->n_bucket; b++)
        for (uint32_t at = p->bucket[b]; at != NONE; at = p->node[at].next_in_bucket) {
            if (hashed++ == p->n_page || !p->node[at].in_tree || p->node[at].bucket != b)
                return "the hash table holds what is not in the tree";
        }
    if (hashed != in_tree) return "a page of the tree cannot be found";
    const char *broken = check_list(p, 0);
    return broken ? broken : check_list(p, 1);
}
