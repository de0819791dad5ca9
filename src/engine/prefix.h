/* prefix.h - the prefix tree: which whole pages hold which tokens, and which of them may go.
 *
 * A node is a page of HONE_KV_PAGE positions.  It is found by its parent (the page before it), by a key - what its bits
 * depend on beside weights and tokens: adapter, salt, position table - and by its tokens, all compared in full, so that
 * no collision can hand out another's page.  Keys are digests (SHA-256).
 *
 * A page that no sequence uses is idle.  Idle pages stand in a list in the order in which they were left, the deepest
 * of a sequence first; as whoever uses a page uses its ancestors too, a child always stands before its parent, and the
 * oldest idle page is a leaf.  Pinned pages stand in a list of their own; ancestors of a pinned page are pinned.
 *
 * The tree knows page ids only: kv.c owns pages, sequences and the counts of users.  Nothing is allocated after open.
 *
 * Threads: one owner, the scheduler. */
#ifndef HONE_PREFIX_H
#define HONE_PREFIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "kernel/kernel.h"

#define HONE_PREFIX_NONE UINT32_MAX

typedef struct {
    char text[HONE_DIGEST_TEXT];
} hone_prefix_key;

/* Where a sequence stands in the tree. */
typedef struct {
    const int32_t *token;
    uint32_t applies_from;       /* first position that the adapter changes */
    const hone_prefix_key *base; /* of pages that end at or before applies_from */
    const hone_prefix_key *own;  /* of the others */
} hone_prefix_path;

typedef struct hone_prefix hone_prefix;

/* max_pinned: pages that may be pinned at once. */
hone_status hone_prefix_open(hone_prefix **out, uint32_t n_page, uint32_t max_pinned, hone_error *err);
void hone_prefix_close(hone_prefix *p);     /* NULL is fine */
uint64_t hone_prefix_plan(uint32_t n_page); /* bytes that open takes */

/* Page `index` of the path below `parent` (HONE_PREFIX_NONE for the first), or HONE_PREFIX_NONE. */
uint32_t hone_prefix_find(const hone_prefix *p, uint32_t parent, const hone_prefix_path *path, uint32_t index);
/* The page enters the tree, in use.  find told that no equal one is there. */
void hone_prefix_insert(hone_prefix *p, uint32_t page, uint32_t parent, const hone_prefix_path *path, uint32_t index);

void hone_prefix_use(hone_prefix *p, uint32_t page);  /* an idle page has a user again */
void hone_prefix_idle(hone_prefix *p, uint32_t page); /* the last user left; of one sequence, deepest first */

/* The oldest idle page that is not pinned leaves the tree; HONE_PREFIX_NONE: there is none. */
uint32_t hone_prefix_evict(hone_prefix *p);

/* The page is in use and its parent pinned.  False: the share of pins is full of pages in use. */
bool hone_prefix_pin(hone_prefix *p, uint32_t page);
/* The oldest idle pinned page may go like any other from now on.  False: there is none. */
bool hone_prefix_unpin(hone_prefix *p);

bool hone_prefix_has(const hone_prefix *p, uint32_t page);
uint32_t hone_prefix_pages(const hone_prefix *p);        /* in the tree */
uint32_t hone_prefix_idle_pages(const hone_prefix *p);   /* of them idle and not pinned */
uint32_t hone_prefix_idle_pins(const hone_prefix *p);    /* idle and pinned */
uint32_t hone_prefix_parent(const hone_prefix *p, uint32_t page);

/* NULL or the broken invariant, given the users of every page; O(pages). */
const char *hone_prefix_check(const hone_prefix *p, const uint32_t *users);

#endif
