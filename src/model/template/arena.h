/* arena.h - memory of a compiled template and of one rendering, given back as a whole, and text that grows
 * inside it.
 *
 * The arena counts what it hands out against a limit, so that a hostile template meets an error and never the machine's
 * end.  Threads: one owner. */
#ifndef HONE_TEMPLATE_ARENA_H
#define HONE_TEMPLATE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct jinja_chunk jinja_chunk;

/* Start from {.limit = bytes}. */
typedef struct {
    jinja_chunk *chunks; /* newest first; owned */
    char *at;            /* next free byte of the newest chunk */
    char *end;
    size_t used;  /* bytes handed out, rounding included */
    size_t limit; /* used never passes it */
    bool over;    /* an allocation failed on the limit, not on the machine's memory */
} jinja_arena;

/* count * size bytes, 16-aligned, not zeroed; NULL at the limit, on overflow or without memory. */
void *jinja_arena_get(jinja_arena *a, size_t count, size_t size);

void jinja_arena_free(jinja_arena *a);

/* Text under construction.  Start from {0}; data belongs to the arena. */
typedef struct {
    char *data;
    size_t n;
    size_t cap;
} jinja_text;

/* Room for n_more bytes behind text->n; false as jinja_arena_get() gives NULL. */
bool jinja_text_reserve(jinja_arena *a, jinja_text *text, size_t n_more);
bool jinja_text_add(jinja_arena *a, jinja_text *text, const char *bytes, size_t n);

#endif
