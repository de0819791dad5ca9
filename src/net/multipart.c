/* multipart.c - a streaming multipart/form-data parser; the contract is in multipart.h.
 * Order: opening, a part's header, the body between boundaries, feeding, asking.
 *
 * The delimiter is CRLF "--" boundary; the first one may lack the CRLF.  Bytes that could be the beginning of a
 * delimiter wait in `held` until they are one or not. */
#include "net/multipart.h"

#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

typedef enum { PREAMBLE, AFTER_DELIMITER, HEADER, BODY, EPILOGUE, BROKEN } state;

typedef struct {
    char *name;
    hone_buf value;
} field;

struct hone_multipart {
    state at;
    char delimiter[4 + 70 + 1]; /* "\r\n--" and the boundary */
    size_t n_delimiter;
    char *file_field, *filename;
    hone_multipart_file_fn on_file;
    void *arg;
    hone_buf held; /* bytes not yet given their meaning */
    field fields[HONE_MULTIPART_FIELDS];
    size_t n_fields;
    bool in_file, has_file;
};

/* ---- Opening ---- */

/* The value of a parameter in "type; name=value; name=\"value\"" into out; false when absent or too long. */
static bool parameter(const char *text, const char *name, char *out, size_t cap) {
    const size_t n_name = strlen(name);
    const char *p = strchr(text, ';');
    while (p) {
        p++;
        while (*p == ' ' || *p == '\t') p++;
        const bool match = strncasecmp(p, name, n_name) == 0 && p[n_name] == '=';
        /* Skip to the next ';' that does not stand in quotes. */
        const char *value = p + strcspn(p, "=;");
        const char *end;
        size_t n = 0;
        if (*value == '=' && value[1] == '"') {
            for (end = value + 2; *end && *end != '"'; end++) {
                if (*end == '\\' && (end[1] == '"' || end[1] == '\\')) end++;
                if (match && n + 1 < cap) out[n] = *end;
                n++;
            }
            end = strchr(end, ';');
        } else {
            end = value + (*value == '=');
            for (; *end && *end != ';'; end++) {
                if (match && n + 1 < cap) out[n] = *end;
                n++;
            }
            while (match && n && n < cap && (out[n - 1] == ' ' || out[n - 1] == '\t')) n--;
            end = *end ? end : NULL;
        }
        if (match) {
            if (n + 1 > cap) return false;
            out[n] = 0;
            return true;
        }
        p = end;
    }
    return false;
}

hone_status hone_multipart_open(hone_multipart **out, const char *content_type, const char *file_field,
                                hone_multipart_file_fn on_file, void *arg, hone_error *err) {
    *out = NULL;
    char boundary[71];
    const size_t n_type = content_type ? strcspn(content_type, "; \t") : 0;
    if (n_type != 19 || strncasecmp(content_type, "multipart/form-data", 19) != 0)
        return hone_fail(err, HONE_ERR_FORMAT, "the body must be multipart/form-data, but its type is '%.80s'",
                         content_type ? content_type : "");
    if (!parameter(content_type, "boundary", boundary, sizeof(boundary)) || !boundary[0])
        return hone_fail(err, HONE_ERR_FORMAT, "multipart/form-data without a boundary of 1 to 70 characters");
    hone_multipart *m = hone_zalloc(1, sizeof(*m));
    if (!m || !(m->file_field = hone_strdup(file_field))) {
        hone_multipart_close(m);
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for an upload");
    }
    memcpy(m->delimiter, "\r\n--", 4);
    m->n_delimiter = 4 + strlen(boundary);
    memcpy(m->delimiter + 4, boundary, strlen(boundary));
    m->on_file = on_file;
    m->arg = arg;
    hone_buf_text(&m->held, "\r\n"); /* so that the first boundary looks like the others */
    *out = m;
    return HONE_OK;
}

void hone_multipart_close(hone_multipart *m) {
    if (!m) return;
    for (size_t i = 0; i < m->n_fields; i++) {
        hone_free(m->fields[i].name);
        hone_buf_free(&m->fields[i].value);
    }
    hone_free(m->file_field);
    hone_free(m->filename);
    hone_buf_free(&m->held);
    hone_free(m);
}

/* ---- A part's header ---- */

static void drop(hone_multipart *m, size_t n) {
    memmove(m->held.data, m->held.data + n, m->held.n - n + 1);
    m->held.n -= n;
}

static hone_status no_memory(hone_error *err) {
    return hone_fail(err, HONE_ERR_NOMEM, "no memory for an upload");
}

static hone_status begin_part(hone_multipart *m, const char *disposition, hone_error *err) {
    char name[256], filename[1024];
    if (!parameter(disposition, "name", name, sizeof(name)))
        return hone_fail(err, HONE_ERR_FORMAT, "a part of the form without a name");
    if (hone_utf8_valid(disposition, strlen(disposition)) != strlen(disposition))
        return hone_fail(err, HONE_ERR_FORMAT, "a part's Content-Disposition is not UTF-8");
    if (m->n_fields == HONE_MULTIPART_FIELDS)
        return hone_fail(err, HONE_ERR_LIMIT, "more than %u parts in the form", HONE_MULTIPART_FIELDS);
    for (size_t i = 0; i < m->n_fields; i++)
        if (strcmp(m->fields[i].name, name) == 0)
            return hone_fail(err, HONE_ERR_FORMAT, "the field '%.60s' stands twice in the form", name);
    m->in_file = strcmp(name, m->file_field) == 0;
    if (!(m->fields[m->n_fields].name = hone_strdup(name))) return no_memory(err);
    m->n_fields++;
    if (!m->in_file) return HONE_OK;
    m->has_file = true;
    const char *base = parameter(disposition, "filename", filename, sizeof(filename)) ? filename : "";
    for (const char *p = base; *p; p++)
        if (*p == '/' || *p == '\\') base = p + 1;
    m->filename = hone_strdup(base);
    return m->filename ? HONE_OK : no_memory(err);
}

/* A whole header stands in held, its end at `end` (behind the empty line). */
static hone_status take_header(hone_multipart *m, size_t end, hone_error *err) {
    char line[HONE_MULTIPART_HEADER_BYTES + 1];
    bool named = false;
    for (size_t at = 0; at < end - 2;) {
        const char *stop = memmem(m->held.data + at, end - at, "\r\n", 2);
        const size_t n = (size_t)(stop - (m->held.data + at));
        memcpy(line, m->held.data + at, n);
        line[n] = 0;
        at += n + 2;
        if (strlen(line) != n) return hone_fail(err, HONE_ERR_FORMAT, "a NUL in the header of a part");
        if (strncasecmp(line, "content-disposition:", 20) != 0) continue;
        if (named) return hone_fail(err, HONE_ERR_FORMAT, "a part with two Content-Disposition fields");
        named = true;
        const hone_status status = begin_part(m, line + 20, err);
        if (status != HONE_OK) return status;
    }
    if (!named) return hone_fail(err, HONE_ERR_FORMAT, "a part of the form without Content-Disposition");
    drop(m, end);
    return HONE_OK;
}

/* ---- The body between boundaries ---- */

static hone_status give(hone_multipart *m, size_t n, hone_error *err) {
    if (n == 0) return HONE_OK;
    hone_status status = HONE_OK;
    if (m->in_file) {
        status = m->on_file(m->arg, m->held.data, n, err);
    } else {
        hone_buf *value = &m->fields[m->n_fields - 1].value;
        if (value->n + n > HONE_MULTIPART_FIELD_BYTES)
            status = hone_fail(err, HONE_ERR_LIMIT, "the field '%.60s' has more than %u bytes",
                               m->fields[m->n_fields - 1].name, HONE_MULTIPART_FIELD_BYTES);
        else if (!hone_buf_add(value, m->held.data, n))
            status = no_memory(err);
    }
    drop(m, n);
    return status;
}

/* Fields are handed out as C strings and end in JSON. */
static bool is_text(const hone_buf *value) {
    return value->n == 0 || (!memchr(value->data, 0, value->n) && hone_utf8_valid(value->data, value->n) == value->n);
}

/* Bytes at the end of held that may begin a delimiter. */
static size_t tail(const hone_multipart *m) {
    size_t k = m->held.n < m->n_delimiter - 1 ? m->held.n : m->n_delimiter - 1;
    while (k && memcmp(m->held.data + m->held.n - k, m->delimiter, k) != 0) k--;
    return k;
}

/* One step of the machine; *more tells whether another may follow with the bytes that are there. */
static hone_status step(hone_multipart *m, bool *more, hone_error *err) {
    *more = false;
    const char *found;
    size_t skip;
    switch (m->at) {
    case PREAMBLE:
    case BODY:
        found = memmem(m->held.data, m->held.n, m->delimiter, m->n_delimiter);
        const size_t n = found ? (size_t)(found - m->held.data) : m->held.n - tail(m);
        if (m->at == BODY) {
            const hone_status status = give(m, n, err);
            if (status != HONE_OK) return status;
        } else {
            drop(m, n);
        }
        if (!found) return HONE_OK;
        if (m->at == BODY && !m->in_file && !is_text(&m->fields[m->n_fields - 1].value))
            return hone_fail(err, HONE_ERR_FORMAT, "the field '%.60s' holds a NUL or is not UTF-8",
                             m->fields[m->n_fields - 1].name);
        drop(m, m->n_delimiter);
        m->at = AFTER_DELIMITER;
        *more = true;
        return HONE_OK;
    case AFTER_DELIMITER:
        skip = strspn(hone_buf_str(&m->held), " \t"); /* transport padding */
        if (skip > 256) return hone_fail(err, HONE_ERR_FORMAT, "a boundary that does not end");
        if (m->held.n < skip + 2) return HONE_OK;
        if (memcmp(m->held.data + skip, "--", 2) == 0)
            m->at = EPILOGUE;
        else if (memcmp(m->held.data + skip, "\r\n", 2) == 0)
            m->at = HEADER;
        else
            return hone_fail(err, HONE_ERR_FORMAT, "a boundary that does not end its line");
        drop(m, skip + 2);
        *more = true;
        return HONE_OK;
    case HEADER:
        found = memmem(m->held.data, m->held.n, "\r\n\r\n", 4);
        if ((found ? (size_t)(found - m->held.data) : m->held.n) > HONE_MULTIPART_HEADER_BYTES - 4)
            return hone_fail(err, HONE_ERR_LIMIT, "a part's header of more than %u bytes", HONE_MULTIPART_HEADER_BYTES);
        if (!found) return HONE_OK;
        m->at = BODY;
        *more = true;
        return take_header(m, (size_t)(found - m->held.data) + 4, err);
    case EPILOGUE: hone_buf_clear(&m->held); return HONE_OK;
    case BROKEN: break;
    }
    return hone_fail(err, HONE_ERR_FORMAT, "the form was broken before");
}

/* ---- Feeding ---- */

hone_status hone_multipart_feed(hone_multipart *m, const void *bytes, size_t n, hone_error *err) {
    /* In slices, so that held stays small however much one call brings. */
    for (size_t at = 0; at < n;) {
        const size_t slice = n - at < 65536 ? n - at : 65536;
        hone_status status = hone_buf_add(&m->held, (const char *)bytes + at, slice) ? HONE_OK : no_memory(err);
        at += slice;
        for (bool more = true; more && status == HONE_OK;) status = step(m, &more, err);
        if (status != HONE_OK) {
            m->at = BROKEN;
            return status;
        }
    }
    return HONE_OK;
}

hone_status hone_multipart_finish(hone_multipart *m, hone_error *err) {
    if (m->at == EPILOGUE) return HONE_OK;
    return hone_fail(err, HONE_ERR_FORMAT, "the form ends before its last boundary");
}

/* ---- Asking ---- */

const char *hone_multipart_field(const hone_multipart *m, const char *name) {
    for (size_t i = 0; i < m->n_fields; i++)
        if (strcmp(m->fields[i].name, name) == 0 && strcmp(name, m->file_field) != 0)
            return hone_buf_str(&m->fields[i].value);
    return NULL;
}
size_t hone_multipart_count(const hone_multipart *m) {
    return m->n_fields;
}
const char *hone_multipart_name(const hone_multipart *m, size_t i) {
    return i < m->n_fields ? m->fields[i].name : NULL;
}
bool hone_multipart_has_file(const hone_multipart *m) {
    return m->has_file;
}
const char *hone_multipart_filename(const hone_multipart *m) {
    return m->filename ? m->filename : "";
}
