/* engine_internal.h - what engine.c (memory, requests), adapters.c, scheduler.c (the step) and stream.c (its tokens)
 * share.
 *
 * A request waits, runs and ends.  Both lists are in order of (priority, arrival), oldest first; a running request has
 * a sequence of pages, a waiting one has none.  A request that loses its pages waits again in its old place and is
 * computed again from prompt and output, which gives the same bits. */
#ifndef HONE_ENGINE_INTERNAL_H
#define HONE_ENGINE_INTERNAL_H

#include "engine/draft.h"
#include "engine/engine.h"
#include "engine/kv.h"
#include "engine/masks.h"
#include "engine/pace.h"
#include "engine/sample.h"

typedef struct engine_adapter {
    char digest[HONE_DIGEST_TEXT];
    hone_adapter *adapter; /* owned */
    uint32_t users;        /* requests, waiting ones too */
    bool pinned;           /* never makes room for others */
    uint64_t used_at;      /* number of the last use: the order of eviction */
    struct engine_adapter *next;
} engine_adapter;

typedef struct engine_request {
    struct engine_request *next; /* in the list of waiting ones */
    uint64_t arrival;
    bool ended;            /* freed when the step is over */
    hone_engine_request r; /* pointers are to what follows this record in its allocation */
    engine_adapter *adapter;
    uint32_t applies_from; /* of the adapter; positions before it are the base's; UINT32_MAX: all of them */
    int32_t *token;        /* [n_prompt + max_tokens] prompt, then output */
    uint32_t n_output;     /* emitted ones included */
    uint32_t length;       /* n_prompt + max_tokens: the longest it may become */
    uint32_t seq;          /* HONE_KV_NONE while it waits */
    uint32_t n_done;       /* positions whose keys and values are stored */
    uint32_t n_told;       /* prompt tokens whose log-probabilities were reported (or need not be) */
    float *sum;            /* [D] of final norms over the prompt, NULL: not wanted */
    /* the prefix tree (admission.c) */
    bool shares;       /* takes pages from the tree and leaves its own there */
    bool preempted;    /* what it finds in the tree from now on is its own work */
    uint32_t n_cached; /* prompt tokens that came from the tree */
    hone_prefix_key base_key, key;
    uint64_t rides_on;   /* arrival + 1 of the running request whose pages it waits for, 0: none */
    uint32_t ride_until; /* positions they have in common */
    uint32_t passed;     /* younger requests that were admitted while it waited for pages */
    /* several tokens a step (stream.c) */
    hone_draft *draft;  /* NULL: none are made */
    engine_text *text;  /* NULL: any text */
    uint32_t n_emit;    /* output tokens that were told, or that the caller told */
    uint32_t n_ahead;   /* forced tokens behind the last sampled one */
    hone_draft_bid bid; /* drafts in token[], behind the known ones */
    uint32_t n_accepted, n_rejected;
    /* of this step */
    uint32_t n_draft;        /* drafts that have rows */
    uint32_t n_new, n_right; /* sampled; of these, as drafted */
    uint32_t n_sure;         /* of the right ones, forced: those were no guesses */
    bool streaming;          /* has rows as a stream */
    bool served;             /* it got what it may have */
    uint32_t rest;           /* rows until it, or one that rides on it, has its first token */
    uint32_t row0, n_row;    /* its rows */
    uint32_t first;          /* position of the first */
    int32_t logit_row;       /* of the last known token, those of the drafts follow; -1: none */
} engine_request;

struct hone_engine {
    const hone_model *model;
    hone_pool *pool;
    hone_engine_config cfg;      /* without zeros */
    uint32_t n_threads, n_logit; /* n_logit: rows of logits */
    hone_forward *forward;
    hone_kv *kv;
    hone_sampler **sampler;   /* [n_threads] */
    float *copy;              /* [n_threads, V] logits that sampling may change while log-probabilities need them */
    float *logits;            /* [n_logit, V] */
    float *hidden;            /* [max_step_rows, D] */
    hone_row *rows;           /* [max_step_rows] */
    hone_seq_view *views;     /* [max_sequences] */
    engine_request **running; /* [max_sequences], n_running in use */
    uint32_t n_running;
    engine_request **batch; /* [max_sequences] those with rows in this step */
    uint32_t n_batch;
    hone_event *token_event;     /* [n_logit] sampled, by logit row, before they are reported */
    hone_event *prompt_event;    /* [n_logit] */
    hone_draft_bid **bid;        /* [max_sequences] */
    hone_draft_cost row_cost;    /* of steps that run streams alone */
    uint32_t *mask;              /* [n_threads, (V + 31) / 32] */
    uint64_t *mask_ns;           /* [n_threads] spent on masks */
    hone_vocabulary *vocabulary; /* NULL: no grammars */
    engine_request *waiting;
    uint32_t n_waiting;
    engine_request *graveyard; /* ended ones, freed when the step is over */
    bool stepping;
    engine_adapter *adapters;
    uint32_t n_adapter;
    uint64_t adapter_bytes;
    uint64_t adapter_uses;
    void (*on_evicted)(void *arg, const char *digest);
    void *on_evicted_arg;
    uint64_t arrivals;
    uint32_t n_riding;   /* of the waiting ones, as of the last admission */
    hone_pace pace;      /* what a step costs on this machine */
    hone_pace_load load; /* of this step */
    uint32_t n_paced;    /* steps that a giant's prompt was held back in */
    bool step_streams;   /* no prompt has rows in this step */
    hone_engine_stats stats;
};

/* engine.c */
bool engine_older(const engine_request *a, const engine_request *b);
void engine_wait(hone_engine *e, engine_request *r); /* into the list of waiting ones, in its place */
void engine_end(hone_engine *e, engine_request *r);  /* pages and adapter are free, the record follows */
void engine_bury(hone_engine *e);                    /* frees records of ended requests */

/* adapters.c */
engine_adapter *engine_use_adapter(hone_engine *e, const char *digest); /* of one that is here: one more user */
void engine_leave_adapter(hone_engine *e, engine_adapter *a);
void engine_drop_adapters(hone_engine *e); /* all of them */

/* stream.c */
hone_finish engine_finish_of(const engine_request *r); /* why it is over, after its last token; NONE: it goes on */
bool engine_streams(const engine_request *r);          /* its next rows end in logits and are few */
/* Drafts for a step in which n_stream streams have n_row rows, at most room of them. */
void engine_draft(hone_engine *e, uint32_t n_stream, uint32_t n_row, uint32_t room);
void engine_sample_task(void *engine, uint32_t task, uint32_t thread); /* the tokens behind the rows of batch[task] */
void engine_tell_logprobs(const hone_engine *e, const float *logits, int32_t n_top, hone_event *out);
/* What sampling made, in order; the caller may cancel the request at every event. */
void engine_tell(hone_engine *e, engine_request *r, void (*on_event)(void *arg, const hone_event *event), void *arg);
void engine_begin_forced(engine_request *r); /* at submit: what the grammar forces first */
void engine_tell_forced(engine_request *r, void (*on_event)(void *arg, const hone_event *event), void *arg);

/* admission.c */
uint32_t engine_known(const engine_request *r); /* tokens that are known; the last is the next row of a stream */
hone_status engine_find_keys(const hone_engine *e, engine_request *r, hone_error *err); /* at submit */
void engine_share(hone_engine *e, engine_request *r);  /* before its next rows: what the tree holds is done */
void engine_commit(hone_engine *e, engine_request *r); /* whole pages of its first n_done positions enter the tree */
void engine_preempt(hone_engine *e, uint32_t i);       /* running[i] gives its pages back and waits */
void engine_admit(hone_engine *e);                     /* waiting ones run, as places and pages allow */

#endif
