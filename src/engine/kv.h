/* kv.h - paged keys and values of every running sequence.
 *
 * One slab cut into pages of HONE_KV_PAGE positions of all layers.  A sequence owns page ids and the table of pointers
 * that kernels read; growing it moves nothing.  Everything is reserved at open: begin, extend and end never allocate.
 *
 * Sharing pages between sequences (a prefix tree) fits between extend and end: ids would get a count of users there.
 *
 * Threads: one owner, the scheduler.  Kernels read and write pages between two of its calls. */
#ifndef HONE_KV_H
#define HONE_KV_H

#include "engine/forward.h"

typedef struct {
    uint32_t max_sequences; /* at once */
    uint32_t max_length;    /* positions of one sequence at most */
    uint64_t budget_bytes;  /* the slab never exceeds this */
    hone_kv_type type;
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

/* Gives its pages and the sequence back. */
void hone_kv_end(hone_kv *kv, uint32_t seq);

/* page and cap; the caller sets length and adapter.  Valid until end. */
hone_seq_view hone_kv_view(const hone_kv *kv, uint32_t seq);

uint32_t hone_kv_free_pages(const hone_kv *kv);
uint32_t hone_kv_total_pages(const hone_kv *kv);
uint32_t hone_kv_pages_for(uint32_t length);

/* NULL or the broken invariant; O(pages), for assert() and tests. */
const char *hone_kv_check(const hone_kv *kv);

#endif
