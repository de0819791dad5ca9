/* protocol.c - frames of the copy protocol; layout and contract are in protocol.h.
 * Order: writing fields, frames out, reading fields, frames in, the socket. */
#include "fleet/protocol.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/mem.h"

/* ---- Writing fields.  The buffer's failure sticks; the sender looks once. ---- */

static void put(hone_buf *b, const void *p, size_t n) {
    hone_buf_add(b, p, n);
}
static void put_u8(hone_buf *b, uint8_t v) {
    put(b, &v, 1);
}
static void put_u32(hone_buf *b, uint32_t v) {
    put(b, &v, 4);
}
static void put_u64(hone_buf *b, uint64_t v) {
    put(b, &v, 8);
}
static void put_f32(hone_buf *b, float v) {
    put(b, &v, 4);
}
static void put_text(hone_buf *b, const char *text) {
    const size_t n = text ? strlen(text) : 0;
    put_u32(b, (uint32_t)n);
    put(b, text, n);
}
static void put_array(hone_buf *b, const void *p, uint32_t count, size_t element) {
    put_u32(b, count);
    put(b, p, count * element);
}

void hone_frame_begin(hone_buf *out, size_t *mark) {
    static const char head[HONE_FRAME_HEAD];
    *mark = out->n;
    put(out, head, sizeof(head));
}

void hone_frame_end(hone_buf *out, size_t mark, hone_frame_type type) {
    if (out->failed) return;
    const uint32_t n = (uint32_t)(out->n - mark - HONE_FRAME_HEAD);
    const uint16_t t = (uint16_t)type, version = HONE_PROTOCOL_VERSION;
    const uint32_t sum = XXH32(out->data + mark + HONE_FRAME_HEAD, n, 0);
    memcpy(out->data + mark, &n, 4);
    memcpy(out->data + mark + 4, &t, 2);
    memcpy(out->data + mark + 6, &version, 2);
    memcpy(out->data + mark + 8, &sum, 4);
}

/* ---- Frames out ---- */

void hone_frame_hello(hone_buf *out, const hone_hello *h) {
    size_t mark;
    hone_frame_begin(out, &mark);
    put_u32(out, h->engine.max_step_rows);
    put_u32(out, h->engine.max_sequences);
    put_u32(out, h->engine.max_length);
    put_u64(out, h->engine.kv_bytes);
    put_u32(out, (uint32_t)h->engine.kv_type);
    put_u64(out, h->engine.adapter_bytes);
    put_u8(out, h->engine.no_prefix);
    put_u32(out, h->engine.max_draft);
    put_u32(out, h->engine.pin_percent);
    put_u32(out, h->threads);
    hone_frame_end(out, mark, HONE_FRAME_HELLO);
}

void hone_frame_ready(hone_buf *out, const hone_ready *r) {
    size_t mark;
    hone_frame_begin(out, &mark);
    put_u64(out, r->plan.weights);
    put_u64(out, r->plan.kv);
    put_u64(out, r->plan.scratch);
    put_u64(out, r->plan.adapters);
    put_u64(out, r->plan.total);
    put_text(out, r->fingerprint);
    put_text(out, r->sandbox);
    hone_frame_end(out, mark, HONE_FRAME_READY);
}

void hone_frame_request(hone_buf *out, const hone_engine_request *r) {
    size_t mark;
    hone_frame_begin(out, &mark);
    put_u64(out, r->id);
    put_array(out, r->prompt, r->n_prompt, sizeof(*r->prompt));
    put_array(out, r->emitted, r->n_emitted, sizeof(*r->emitted));
    put_u32(out, r->max_tokens);
    put_u32(out, r->min_tokens);
    put_array(out, r->stop, r->n_stop, sizeof(*r->stop));
    put_u8(out, r->ignore_stop);
    put_f32(out, r->sampling.temperature);
    put_f32(out, r->sampling.top_p);
    put_u32(out, r->sampling.top_k);
    put_f32(out, r->sampling.min_p);
    put_f32(out, r->sampling.repetition_penalty);
    put_f32(out, r->sampling.frequency_penalty);
    put_f32(out, r->sampling.presence_penalty);
    put_u64(out, r->sampling.seed);
    put_array(out, r->sampling.bias_token, r->sampling.n_bias, sizeof(*r->sampling.bias_token));
    put_array(out, r->sampling.bias_value, r->sampling.n_bias, sizeof(*r->sampling.bias_value));
    put_u32(out, (uint32_t)r->n_logprobs);
    put_u8(out, r->prompt_logprobs);
    put_u8(out, r->want_embedding);
    put_text(out, r->adapter);
    put_u32(out, r->priority);
    put_u8(out, r->no_prefix);
    put_text(out, r->cache_salt);
    put_u8(out, r->pin_prefix);
    put_array(out, r->grammar_source, r->grammar_source ? (uint32_t)r->n_grammar_source : 0, 1);
    put_array(out, r->prediction, r->n_prediction, sizeof(*r->prediction));
    put_u32(out, r->max_draft);
    hone_frame_end(out, mark, HONE_FRAME_REQUEST);
}

void hone_frame_id(hone_buf *out, hone_frame_type type, uint64_t id) {
    size_t mark;
    hone_frame_begin(out, &mark);
    put_u64(out, id);
    hone_frame_end(out, mark, type);
}

void hone_frame_text(hone_buf *out, hone_frame_type type, const char *text) {
    size_t mark;
    hone_frame_begin(out, &mark);
    put_text(out, text);
    hone_frame_end(out, mark, type);
}

void hone_frame_problem(hone_buf *out, hone_frame_type type, const char *about, const hone_error *e) {
    size_t mark;
    hone_frame_begin(out, &mark);
    put_text(out, about);
    put_u32(out, (uint32_t)e->code);
    put_text(out, e->message);
    hone_frame_end(out, mark, type);
}

void hone_frame_stats(hone_buf *out, const hone_engine_stats *s) {
    size_t mark;
    hone_frame_begin(out, &mark);
    put_u32(out, s->running);
    put_u32(out, s->waiting);
    put_u32(out, s->pages_free);
    put_u32(out, s->pages_total);
    put_u64(out, s->steps);
    put_u64(out, s->prefill_tokens);
    put_u64(out, s->decode_tokens);
    put_u64(out, s->preemptions);
    put_u64(out, s->prefix_tokens);
    put_u32(out, s->pages_cached);
    put_u64(out, s->drafted);
    put_u64(out, s->accepted);
    put_u64(out, s->forced);
    put_u64(out, s->grammar_mask_ns);
    put_u64(out, s->memory);
    put_u64(out, s->adapter_bytes);
    put_u32(out, s->adapters);
    hone_frame_end(out, mark, HONE_FRAME_STATS);
}

void hone_frame_put_event(hone_buf *out, const hone_event *e, uint32_t width) {
    put_u8(out, (uint8_t)e->kind);
    put_u64(out, e->id);
    switch (e->kind) {
    case HONE_EVENT_TOKEN:
    case HONE_EVENT_PROMPT:
        put_u32(out, e->index);
        put_u32(out, (uint32_t)e->token);
        put_f32(out, e->logprob);
        put_u32(out, e->n_cached);
        put_array(out, e->top_token, e->n_top, sizeof(e->top_token[0]));
        put_array(out, e->top_logprob, e->n_top, sizeof(e->top_logprob[0]));
        break;
    case HONE_EVENT_EMBEDDING: put_array(out, e->embedding, width, sizeof(*e->embedding)); break;
    case HONE_EVENT_DONE:
        put_u8(out, (uint8_t)e->finish);
        put_u32(out, e->n_prompt);
        put_u32(out, e->n_output);
        put_u32(out, e->n_cached);
        put_u32(out, e->n_accepted);
        put_u32(out, e->n_rejected);
        put_u8(out, e->error != NULL);
        if (e->error) {
            put_u32(out, (uint32_t)e->error->code);
            put_text(out, e->error->message);
        }
        break;
    }
}

/* ---- Reading fields.  A cursor that fails stays failed, so decoders look once at the end. ---- */

typedef struct {
    const uint8_t *p;
    size_t left;
    bool bad;
} cursor;

static void get(cursor *c, void *out, size_t n) {
    if (c->bad || c->left < n) {
        c->bad = true;
        memset(out, 0, n);
        return;
    }
    memcpy(out, c->p, n);
    c->p += n;
    c->left -= n;
}
static uint8_t get_u8(cursor *c) {
    uint8_t v;
    get(c, &v, 1);
    return v;
}
static uint32_t get_u32(cursor *c) {
    uint32_t v;
    get(c, &v, 4);
    return v;
}
static uint64_t get_u64(cursor *c) {
    uint64_t v;
    get(c, &v, 8);
    return v;
}
static float get_f32(cursor *c) {
    float v;
    get(c, &v, 4);
    return v;
}
/* Unaligned bytes of an array whose count was checked against what is left. */
static const uint8_t *get_array(cursor *c, size_t element, uint32_t *count) {
    *count = get_u32(c);
    if (c->bad || *count > c->left / element) {
        c->bad = true;
        *count = 0;
        return NULL;
    }
    const uint8_t *at = c->p;
    c->p += *count * element;
    c->left -= *count * element;
    return at;
}
static void get_text(cursor *c, char *out, size_t cap) {
    uint32_t n;
    const uint8_t *at = get_array(c, 1, &n);
    if (n >= cap) c->bad = true;
    if (c->bad) n = 0;
    if (n) memcpy(out, at, n);
    out[n] = 0;
}
static hone_status end(const cursor *c) {
    return c->bad || c->left ? HONE_ERR_FORMAT : HONE_OK;
}

/* ---- Frames in ---- */

hone_status hone_frame_get_hello(const hone_frame *f, hone_hello *out) {
    cursor c = {f->payload, f->n, false};
    *out = (hone_hello){0};
    out->engine.max_step_rows = get_u32(&c);
    out->engine.max_sequences = get_u32(&c);
    out->engine.max_length = get_u32(&c);
    out->engine.kv_bytes = get_u64(&c);
    const uint32_t kv = get_u32(&c);
    if (kv >= HONE_KV_TYPE_COUNT) c.bad = true;
    out->engine.kv_type = (hone_kv_type)kv;
    out->engine.adapter_bytes = get_u64(&c);
    out->engine.no_prefix = get_u8(&c) != 0;
    out->engine.max_draft = get_u32(&c);
    out->engine.pin_percent = get_u32(&c);
    out->threads = get_u32(&c);
    return end(&c);
}

hone_status hone_frame_get_ready(const hone_frame *f, hone_ready *out) {
    cursor c = {f->payload, f->n, false};
    *out = (hone_ready){0};
    out->plan.weights = get_u64(&c);
    out->plan.kv = get_u64(&c);
    out->plan.scratch = get_u64(&c);
    out->plan.adapters = get_u64(&c);
    out->plan.total = get_u64(&c);
    get_text(&c, out->fingerprint, sizeof(out->fingerprint));
    get_text(&c, out->sandbox, sizeof(out->sandbox));
    return end(&c);
}

hone_status hone_frame_get_request(const hone_frame *f, hone_engine_request *out, void **store) {
    cursor c = {f->payload, f->n, false};
    *out = (hone_engine_request){0};
    *store = NULL;
    out->id = get_u64(&c);
    const uint8_t *prompt = get_array(&c, sizeof(int32_t), &out->n_prompt);
    const uint8_t *emitted = get_array(&c, sizeof(int32_t), &out->n_emitted);
    out->max_tokens = get_u32(&c);
    out->min_tokens = get_u32(&c);
    const uint8_t *stop = get_array(&c, sizeof(int32_t), &out->n_stop);
    out->ignore_stop = get_u8(&c) != 0;
    out->sampling.temperature = get_f32(&c);
    out->sampling.top_p = get_f32(&c);
    out->sampling.top_k = get_u32(&c);
    out->sampling.min_p = get_f32(&c);
    out->sampling.repetition_penalty = get_f32(&c);
    out->sampling.frequency_penalty = get_f32(&c);
    out->sampling.presence_penalty = get_f32(&c);
    out->sampling.seed = get_u64(&c);
    uint32_t n_value;
    const uint8_t *bias_token = get_array(&c, sizeof(int32_t), &out->sampling.n_bias);
    const uint8_t *bias_value = get_array(&c, sizeof(float), &n_value);
    out->n_logprobs = (int32_t)get_u32(&c);
    out->prompt_logprobs = get_u8(&c) != 0;
    out->want_embedding = get_u8(&c) != 0;
    char adapter[HONE_DIGEST_TEXT];
    get_text(&c, adapter, sizeof(adapter));
    out->priority = get_u32(&c);
    out->no_prefix = get_u8(&c) != 0;
    char salt[HONE_DIGEST_TEXT];
    get_text(&c, salt, sizeof(salt));
    out->pin_prefix = get_u8(&c) != 0;
    uint32_t n_source;
    const uint8_t *source = get_array(&c, 1, &n_source);
    const uint8_t *prediction = get_array(&c, sizeof(int32_t), &out->n_prediction);
    out->max_draft = get_u32(&c);
    if (end(&c) != HONE_OK || out->n_stop > HONE_MAX_STOP_TOKENS || n_value != out->sampling.n_bias ||
        out->n_logprobs < -1 || out->n_logprobs > (int32_t)HONE_TOP_LOGPROBS)
        return HONE_ERR_FORMAT;
    memcpy(out->stop, stop, out->n_stop * sizeof(int32_t));
    /* One block for what outlives the frame: first what is 4 bytes wide, then texts. */
    const size_t words = (size_t)out->n_prompt + out->n_emitted + 2 * (size_t)out->sampling.n_bias + out->n_prediction;
    int32_t *block = hone_zalloc(1, words * 4 + sizeof(adapter) + sizeof(salt) + n_source + 1);
    if (!block) return HONE_ERR_NOMEM;
    *store = block;
    int32_t *at = block;
#define KEEP(field, from, count)                                                                                       \
    do {                                                                                                               \
        memcpy(at, from, (count)*4ul);                                                                                 \
        field = (const void *)at;                                                                                      \
        at += (count);                                                                                                 \
    } while (0)
    KEEP(out->prompt, prompt, out->n_prompt);
    KEEP(out->emitted, emitted, out->n_emitted);
    KEEP(out->sampling.bias_token, bias_token, out->sampling.n_bias);
    KEEP(out->sampling.bias_value, bias_value, out->sampling.n_bias);
    KEEP(out->prediction, prediction, out->n_prediction);
#undef KEEP
    if (adapter[0]) {
        memcpy(at, adapter, sizeof(adapter));
        out->adapter = (const char *)at;
    }
    if (salt[0]) {
        char *kept = (char *)at + sizeof(adapter);
        memcpy(kept, salt, sizeof(salt));
        out->cache_salt = kept;
    }
    if (n_source) {
        char *kept = (char *)at + sizeof(adapter) + sizeof(salt);
        memcpy(kept, source, n_source);
        out->grammar_source = kept;
        out->n_grammar_source = n_source;
    }
    return HONE_OK;
}

hone_status hone_frame_get_id(const hone_frame *f, uint64_t *id) {
    cursor c = {f->payload, f->n, false};
    *id = get_u64(&c);
    return end(&c);
}

hone_status hone_frame_get_text(const hone_frame *f, char *text, size_t text_cap) {
    cursor c = {f->payload, f->n, false};
    get_text(&c, text, text_cap);
    return end(&c);
}

hone_status hone_frame_get_problem(const hone_frame *f, char *about, size_t about_cap, hone_error *e) {
    cursor c = {f->payload, f->n, false};
    get_text(&c, about, about_cap);
    *e = (hone_error){.position = HONE_NO_POSITION};
    e->code = (hone_status)(int32_t)get_u32(&c);
    get_text(&c, e->message, sizeof(e->message));
    return end(&c);
}

hone_status hone_frame_get_stats(const hone_frame *f, hone_engine_stats *s) {
    cursor c = {f->payload, f->n, false};
    s->running = get_u32(&c);
    s->waiting = get_u32(&c);
    s->pages_free = get_u32(&c);
    s->pages_total = get_u32(&c);
    s->steps = get_u64(&c);
    s->prefill_tokens = get_u64(&c);
    s->decode_tokens = get_u64(&c);
    s->preemptions = get_u64(&c);
    s->prefix_tokens = get_u64(&c);
    s->pages_cached = get_u32(&c);
    s->drafted = get_u64(&c);
    s->accepted = get_u64(&c);
    s->forced = get_u64(&c);
    s->grammar_mask_ns = get_u64(&c);
    s->memory = get_u64(&c);
    s->adapter_bytes = get_u64(&c);
    s->adapters = get_u32(&c);
    return end(&c);
}

hone_status hone_frame_each_event(const hone_frame *f, void (*on_event)(void *arg, const hone_event *e), void *arg) {
    cursor c = {f->payload, f->n, false};
    while (c.left && !c.bad) {
        hone_event e = {0};
        hone_error problem = {.position = HONE_NO_POSITION};
        float *vector = NULL;
        const uint8_t kind = get_u8(&c);
        e.id = get_u64(&c);
        uint32_t n;
        const uint8_t *at;
        switch (kind) {
        case HONE_EVENT_TOKEN:
        case HONE_EVENT_PROMPT:
            e.index = get_u32(&c);
            e.token = (int32_t)get_u32(&c);
            e.logprob = get_f32(&c);
            e.n_cached = get_u32(&c);
            at = get_array(&c, sizeof(int32_t), &e.n_top);
            if (e.n_top > HONE_TOP_LOGPROBS) return HONE_ERR_FORMAT;
            if (e.n_top) memcpy(e.top_token, at, e.n_top * sizeof(int32_t));
            at = get_array(&c, sizeof(float), &n);
            if (n != e.n_top) return HONE_ERR_FORMAT;
            if (n) memcpy(e.top_logprob, at, n * sizeof(float));
            break;
        case HONE_EVENT_EMBEDDING:
            at = get_array(&c, sizeof(float), &n);
            vector = hone_zalloc(n ? n : 1, sizeof(float)); /* the payload is not aligned */
            if (!vector) return HONE_ERR_NOMEM;
            if (n) memcpy(vector, at, n * sizeof(float));
            e.embedding = vector;
            e.index = n;
            break;
        case HONE_EVENT_DONE: {
            const uint8_t finish = get_u8(&c);
            if (finish > HONE_FINISH_ERROR) return HONE_ERR_FORMAT;
            e.finish = (hone_finish)finish;
            e.n_prompt = get_u32(&c);
            e.n_output = get_u32(&c);
            e.n_cached = get_u32(&c);
            e.n_accepted = get_u32(&c);
            e.n_rejected = get_u32(&c);
            if (get_u8(&c)) {
                problem.code = (hone_status)(int32_t)get_u32(&c);
                get_text(&c, problem.message, sizeof(problem.message));
                e.error = &problem;
            }
            break;
        }
        default: return HONE_ERR_FORMAT;
        }
        e.kind = (hone_event_kind)kind;
        if (!c.bad) on_event(arg, &e);
        hone_free(vector);
    }
    return end(&c);
}

/* ---- The socket ---- */

hone_status hone_frame_receive(hone_frame_reader *r, int socket, hone_error *err) {
    if (r->at) { /* move the rest of a frame to the front; whole frames were consumed */
        memmove(r->in.data, r->in.data + r->at, r->in.n - r->at);
        r->in.n -= r->at;
        r->at = 0;
    }
    if (!hone_buf_reserve(&r->in, 1 << 16)) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a frame");
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int) * 8)];
    } control;
    struct iovec part = {.iov_base = r->in.data + r->in.n, .iov_len = r->in.cap - r->in.n - 1};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    ssize_t n;
    do n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return HONE_ERR_FULL;
    if (n < 0 && errno == ECONNRESET) return hone_fail(err, HONE_ERR_CLOSED, "the other side is gone");
    if (n < 0) return hone_fail(err, HONE_ERR_IO, "recvmsg: %s", strerror(errno));
    bool too_many = (m.msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (r->n_fd < sizeof(r->fd) / sizeof(r->fd[0])) {
                r->fd[r->n_fd++] = fd;
            } else {
                close(fd);
                too_many = true;
            }
        }
    }
    if (too_many) return hone_fail(err, HONE_ERR_FORMAT, "more descriptors than frames can use");
    if (n == 0) return hone_fail(err, HONE_ERR_CLOSED, "the other side is gone");
    r->in.n += (size_t)n;
    return HONE_OK;
}

hone_status hone_frame_next(hone_frame_reader *r, hone_frame *out, hone_error *err) {
    const size_t have = r->in.n - r->at;
    if (have < HONE_FRAME_HEAD) return HONE_ERR_FULL;
    const char *head = r->in.data + r->at;
    uint32_t n, sum;
    uint16_t type, version;
    memcpy(&n, head, 4);
    memcpy(&type, head + 4, 2);
    memcpy(&version, head + 6, 2);
    memcpy(&sum, head + 8, 4);
    if (version != HONE_PROTOCOL_VERSION)
        return hone_fail(err, HONE_ERR_FORMAT, "protocol version %u, this program speaks %u", version,
                         HONE_PROTOCOL_VERSION);
    if (n > HONE_FRAME_LIMIT) return hone_fail(err, HONE_ERR_FORMAT, "a frame of %u bytes", n);
    if (have - HONE_FRAME_HEAD < n) {
        hone_buf_reserve(&r->in, HONE_FRAME_HEAD + n - have); /* whole frame in one buffer; failure shows at receive */
        return HONE_ERR_FULL;
    }
    const uint8_t *payload = (const uint8_t *)head + HONE_FRAME_HEAD;
    if (XXH32(payload, n, 0) != sum) return hone_fail(err, HONE_ERR_FORMAT, "a frame with a wrong checksum");
    *out = (hone_frame){.type = (hone_frame_type)type, .payload = payload, .n = n};
    r->at += HONE_FRAME_HEAD + n;
    return HONE_OK;
}

int hone_frame_take_fd(hone_frame_reader *r) {
    if (r->n_fd == 0) return -1;
    const int fd = r->fd[0];
    r->n_fd--;
    memmove(r->fd, r->fd + 1, r->n_fd * sizeof(int));
    return fd;
}

void hone_frame_reader_free(hone_frame_reader *r) {
    for (uint32_t i = 0; i < r->n_fd; i++) close(r->fd[i]);
    hone_buf_free(&r->in);
    *r = (hone_frame_reader){0};
}

hone_status hone_frame_send(int socket, const void *data, size_t n, const int *fds, uint32_t n_fds, size_t *sent,
                            hone_error *err) {
    *sent = 0;
    while (*sent < n) {
        union {
            struct cmsghdr head;
            char bytes[CMSG_SPACE(sizeof(int) * HONE_FRAME_FDS)];
        } control = {0};
        struct iovec part = {.iov_base = (char *)(uintptr_t)data + *sent, .iov_len = n - *sent};
        struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
        if (n_fds && *sent == 0) {
            m.msg_control = control.bytes;
            m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
            memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        const ssize_t k = sendmsg(socket, &m, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return HONE_ERR_FULL;
        if (k < 0 && (errno == EPIPE || errno == ECONNRESET))
            return hone_fail(err, HONE_ERR_CLOSED, "the other side is gone");
        if (k < 0) return hone_fail(err, HONE_ERR_IO, "sendmsg: %s", strerror(errno));
        *sent += (size_t)k;
    }
    return HONE_OK;
}
