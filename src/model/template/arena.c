/* arena.c - the arena of the template engine; the contract is in arena.h. */
#include "model/template/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

#define FIRST_CHUNK 4096u
#define LARGEST_CHUNK (1u << 20) /* above it a request gets a chunk of its own */

struct jinja_chunk {
    _Alignas(16) jinja_chunk *next;
    size_t bytes; /* behind the header */
};

static bool add_chunk(jinja_arena *a, size_t bytes) {
    size_t size = a->chunks ? a->chunks->bytes * 2 : FIRST_CHUNK;
    if (size > LARGEST_CHUNK) size = LARGEST_CHUNK;
    if (size < bytes) size = bytes;
    jinja_chunk *chunk = hone_realloc(NULL, 1, sizeof(*chunk) + size); /* size is at most limit: no overflow */
    if (!chunk) return false;
    chunk->next = a->chunks;
    chunk->bytes = size;
    a->chunks = chunk;
    a->at = (char *)(chunk + 1);
    a->end = a->at + size;
    return true;
}

void *jinja_arena_get(jinja_arena *a, size_t count, size_t size) {
    size_t bytes;
    if (!hone_mul_size(&bytes, count, size) || bytes > a->limit - a->used) {
        a->over = true;
        return NULL;
    }
    bytes = (bytes + 15u) & ~(size_t)15u;
    if (!bytes) bytes = 16; /* distinct addresses: `is sameas` compares them */
    if (bytes > a->limit - a->used) {
        a->over = true;
        return NULL;
    }
    if (bytes > (size_t)(a->end - a->at) && !add_chunk(a, bytes)) return NULL;
    void *p = a->at;
    a->at += bytes;
    a->used += bytes;
    return p;
}

void jinja_arena_free(jinja_arena *a) {
    while (a->chunks) {
        jinja_chunk *next = a->chunks->next;
        hone_free(a->chunks);
        a->chunks = next;
    }
    *a = (jinja_arena){0};
}

bool jinja_text_reserve(jinja_arena *a, jinja_text *text, size_t n_more) {
    if (n_more <= text->cap - text->n) return true;
    size_t need;
    if (!hone_add_size(&need, text->n, n_more)) {
        a->over = true;
        return false;
    }
    size_t cap = text->cap ? text->cap : 64;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    /* The text is often the newest thing in the arena: then it grows where it stands. */
    if (text->data && text->data + text->cap == a->at) {
        const size_t more = (cap - text->cap + 15u) & ~(size_t)15u;
        if (more <= (size_t)(a->end - a->at) && more <= a->limit - a->used) {
            a->at += more;
            a->used += more;
            text->cap += more;
            return true;
        }
    }
    cap = (cap + 15u) & ~(size_t)15u; /* data + cap is where the arena goes on */
    char *data = jinja_arena_get(a, cap, 1);
    if (!data) return false;
    if (text->n) memcpy(data, text->data, text->n);
    text->data = data;
    text->cap = cap;
    return true;
}

bool jinja_text_add(jinja_arena *a, jinja_text *text, const char *bytes, size_t n) {
    if (!jinja_text_reserve(a, text, n)) return false;
    if (n) memcpy(text->data + text->n, bytes, n);
    text->n += n;
    return true;
}
