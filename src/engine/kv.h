/* kv.h - paged keys and values of every running sequence.
 *
 * One slab cut into pages of HONE_KV_PAGE positions of all layers.  A sequence holds page ids and the table of pointers
 * that kernels read; growing it moves nothing.  Everything is reserved at open: nothing allocates afterwards.
 *
 * A page is free, private to one sequence, or in the prefix tree (prefix.h).  Pages of the tree have a count of users
 * and are never written: a sequence's first pages may be of the tree, all that follow are its own.  Whole pages enter
 * it by commit and stay when their sequences end; those without users count as free and go, the least recently used
 * first, when pages are needed.
 *
 * Threads: one owner, the scheduler.  Kernels read and write pages between two of its calls. */
#ifndef HONE_KV_H
#define HONE_KV_H

#include "engine/forward.h"
#include "engine/prefix.h"

typedef struct {
    uint32_t max_sequences; /* at once */
    uint32_t max_length;    /* positions of one sequence at most */
    uint64_t budget_bytes;  /* the slab never exceeds this */
    hone_kv_type type;
    uint32_t pin_percent; /* of the pages, at most so many may be pinned */
} hone_kv_config;

typedef struct hone_kv hone_kv;

#define HONE_KV_NONE UINT32_MAX

/* HONE_ERR_ARG: the budget does not hold one page, or sizes overflow; HONE_ERR_NOMEM.  *out is NULL then. */
hone_status hone_kv_open(hone_kv **out, const hone_model *model, const hone_kv_config *cfg, hone_error *err);
void hone_kv_close(hone_kv *kv); /* NULL is fine */

/* Bytes of one page over all layers; 0: overflow. */
size_t hone_kv_page_bytes(const hone_model *model, hone_kv_type type);
/* What open will reserve, slab and tables together; 0 where open would refuse. */
uint64_t hone_kv_plan(const hone_model *model, const hone_kv_config *cfg);

/* A sequence without pages, or HONE_KV_NONE when max_sequences run. */
uint32_t hone_kv_begin(hone_kv *kv);

/* Room for positions 0 .. length - 1.  HONE_ERR_FULL: not enough pages (nothing changed; preempt, retry); HONE_ERR_ARG:
 * past max_length. */
hone_status hone_kv_extend(hone_kv *kv, uint32_t seq, uint32_t length);

/* Gives its pages and the sequence back; those in the tree stay there. */
void hone_kv_end(hone_kv *kv, uint32_t seq);

/* Positions of the path that the tree holds, whole pages within its first `limit`; takes nothing. */
uint32_t hone_kv_match(const hone_kv *kv, const hone_prefix_path *path, uint32_t limit);

/* Takes over what the tree holds of the path, whole pages within its first `limit` positions, from the pages on that
 * the sequence shares already; pages reserved for these positions are given back, so nothing may be stored there.
 * Returns the number of positions it shares now. */
uint32_t hone_kv_share(hone_kv *kv, uint32_t seq, const hone_prefix_path *path, uint32_t limit);

/* Whole pages of the first n positions, which are stored and final, enter the tree.  Where it holds an equal page
 * already that one takes the place of the sequence's own: the bits are the same. */
void hone_kv_commit(hone_kv *kv, uint32_t seq, const hone_prefix_path *path, uint32_t n);

/* Shared pages within the first n positions stay when they are idle, within pin_percent; the least recently used pins
 * make room. */
void hone_kv_pin(hone_kv *kv, uint32_t seq, uint32_t n);
/* One idle pinned page, the least recently used, becomes ordinary.  False: there is none. */
bool hone_kv_unpin(hone_kv *kv);

/* page and cap; the caller sets length and adapter.  Valid until end. */
hone_seq_view hone_kv_view(const hone_kv *kv, uint32_t seq);

uint32_t hone_kv_free_pages(const hone_kv *kv);   /* idle ones of the tree included, pinned ones not */
uint32_t hone_kv_cached_pages(const hone_kv *kv); /* idle, pinned ones included */
uint32_t hone_kv_idle_pins(const hone_kv *kv);    /* idle and pinned */
uint32_t hone_kv_total_pages(const hone_kv *kv);
uint32_t hone_kv_pages_for(uint32_t length);

/* NULL or the broken invariant; O(pages), for assert() and tests. */
const char *hone_kv_check(const hone_kv *kv);

#endif
