/* regular_json.c - from a language of texts to the language of JSON strings that mean them.
 *
 * JSON's escapes replace single ASCII characters, so the spelling is a substitution byte by byte, and since every
 * spelling can be read back in one way only, it passes through union, concatenation, repetition and intersection
 * unchanged; a complement is taken within the spellings. */
#include <string.h>

#include "base/mem.h"
#include "grammar/regular_impl.h"

static bool must_escape(uint8_t byte) {
    return byte < 0x20 || byte == '"' || byte == '\\';
}

/* A solidus may be escaped, but need not. */
static bool may_escape(uint8_t byte) {
    return must_escape(byte) || byte == '/';
}

static uint32_t class_of(hone_regular *r, const char *bytes, size_t n) {
    uint8_t bits[32] = {0};
    for (size_t i = 0; i < n; i++) bits[(uint8_t)bytes[i] / 8] |= (uint8_t)(1u << ((uint8_t)bytes[i] % 8));
    return hone_rx_class(r, bits);
}

/* The spellings of one byte out of bits. */
static uint32_t spell_set(hone_regular *r, const uint8_t bits[32]) {
    static const char shorts[][2] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                     {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}, {'/', '/'}};
    static const char digit[] = "0123456789abcdefABCDEF";
    uint8_t plain[32];
    memcpy(plain, bits, sizeof(plain));
    char letter[sizeof(shorts) / sizeof(*shorts)];
    size_t n_letter = 0;
    for (size_t i = 0; i < sizeof(shorts) / sizeof(*shorts); i++) {
        const uint8_t byte = (uint8_t)shorts[i][0];
        if (bits[byte / 8] >> (byte % 8) & 1) letter[n_letter++] = shorts[i][1];
    }
    uint32_t hex = HONE_RX_NONE; /* behind \u00 */
    for (uint32_t high = 0; high < 16; high++) {
        char low[32];
        size_t n_low = 0;
        for (uint32_t i = 0; i < 16; i++) {
            const uint8_t byte = (uint8_t)(high * 16 + i);
            if (!must_escape(byte) || !(bits[byte / 8] >> (byte % 8) & 1)) continue;
            plain[byte / 8] &= (uint8_t) ~(1u << (byte % 8));
            low[n_low++] = digit[i];
            if (i > 9) low[n_low++] = digit[i + 6];
        }
        if (n_low) hex = hone_rx_alt(r, hex, rx_cat(r, hone_rx_bytes(r, &digit[high], 1), class_of(r, low, n_low)));
    }
    uint32_t escaped = hone_rx_cat(r, hone_rx_bytes(r, "u00", 3), hex);
    escaped = hone_rx_alt(r, escaped, class_of(r, letter, n_letter));
    return hone_rx_alt(r, hone_rx_class(r, plain), hone_rx_cat(r, hone_rx_bytes(r, "\\", 1), escaped));
}

static uint32_t spell(hone_regular *r, uint32_t id, uint32_t depth) {
    if (id == HONE_RX_FAIL || !rx_ok(r)) return HONE_RX_FAIL;
    if (id == HONE_RX_NONE || id == HONE_RX_EMPTY) return id;
    if (id < r->json_memo_n && r->json_memo[id]) return r->json_memo[id];
    if (depth > RX_DEPTH_MAX) return rx_fail(r, HONE_ERR_LIMIT, "expressions are nested too deeply");
    const rx_node n = r->node[id];
    uint32_t out = HONE_RX_FAIL;
    uint8_t bits[32] = {0};
    switch (n.kind) {
    case RX_CLASS:
        memcpy(bits, r->set[n.a], sizeof(bits));
        out = spell_set(r, bits);
        break;
    case RX_LIT: { /* runs of bytes that are spelled in one way, and what stands between them */
        out = HONE_RX_EMPTY;
        uint32_t end = n.b;
        while (end > 0) {
            uint32_t begin = end;
            while (begin > 0 && !may_escape(r->blob[n.a + begin - 1])) begin--;
            if (begin < end) {
                uint8_t *text = hone_zalloc(end - begin, 1); /* the blob may move */
                if (!text) return rx_fail(r, HONE_ERR_NOMEM, "no memory");
                memcpy(text, r->blob + n.a + begin, end - begin);
                out = hone_rx_cat(r, hone_rx_bytes(r, text, end - begin), out);
                hone_free(text);
            }
            end = begin;
            if (end == 0) break;
            const uint8_t byte = r->blob[n.a + --end];
            memset(bits, 0, sizeof(bits));
            bits[byte / 8] = (uint8_t)(1u << (byte % 8));
            out = rx_cat(r, spell_set(r, bits), out);
        }
        break;
    }
    case RX_CAT: {
        const uint32_t a = spell(r, n.a, depth + 1);
        out = hone_rx_cat(r, a, spell(r, n.b, depth + 1));
        break;
    }
    case RX_REPEAT: out = hone_rx_repeat(r, spell(r, n.a, depth + 1), n.b, n.c); break;
    case RX_NOT: {
        memset(bits, 0xFF, sizeof(bits));
        const uint32_t all = hone_rx_repeat(r, spell_set(r, bits), 0, HONE_RX_UNBOUNDED);
        out = hone_rx_and(r, all, hone_rx_not(r, spell(r, n.a, depth + 1)));
        break;
    }
    case RX_ALT:
    case RX_AND: {
        uint32_t *part = hone_zalloc(n.b, sizeof(*part));
        if (!part) return rx_fail(r, HONE_ERR_NOMEM, "no memory");
        for (uint32_t i = 0; i < n.b; i++) part[i] = spell(r, r->list.id[n.a + i], depth + 1);
        out = n.kind == RX_ALT ? rx_alt(r, part, n.b) : rx_and(r, part, n.b);
        hone_free(part);
        break;
    }
    default: return rx_fail(r, HONE_ERR_INTERNAL, "a rule stands in a string's value");
    }
    if (out == HONE_RX_FAIL) return out;
    if (n.flags & RX_UTF8) rx_flag(r, out, RX_UTF8 | RX_JSON);
    if (id >= r->json_memo_n) {
        const uint32_t cap = r->n_node + r->n_node / 2 + 64;
        uint32_t *memo = hone_realloc(r->json_memo, cap, sizeof(*memo));
        if (!memo) return rx_fail(r, HONE_ERR_NOMEM, "no memory");
        memset(memo + r->json_memo_n, 0, (cap - r->json_memo_n) * sizeof(*memo));
        r->bytes += (cap - r->json_memo_n) * sizeof(*memo);
        r->json_memo = memo;
        r->json_memo_n = cap;
    }
    r->json_memo[id] = out;
    return out;
}

hone_rx hone_rx_json_string(hone_regular *r, hone_rx value) {
    if (!rx_ok(r) || value == HONE_RX_FAIL) return HONE_RX_FAIL;
    if (!r->universe[1]) {
        const uint32_t all = spell(r, hone_rx_utf8(r), 0);
        if (all == HONE_RX_FAIL) return all;
        rx_flag(r, all, RX_UTF8 | RX_JSON);
        r->universe[1] = all;
    }
    return spell(r, value, 0);
}
