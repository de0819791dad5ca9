/* fuzz_rows.c - training files: whatever the bytes are, rows come out within their rules or faults with a line. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "train/data.h"

#define CHATML                                                                                                         \
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"                   \
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

static hone_tokenizer *tokenizer;
static hone_template *chat;
static json_t *special;

/* Bytes in GPT-2's alphabet, and two special tokens. */
static void set_up(void) {
    static char text[256][3];
    hone_piece token[258] = {{"<|im_start|>", 12}, {"<|im_end|>", 10}};
    int32_t type[258] = {HONE_TOKEN_CONTROL, HONE_TOKEN_CONTROL};
    int next = 256;
    for (int b = 0; b < 256; b++) {
        const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        const int c = printable ? b : next++;
        const size_t n = c < 128 ? 1 : 2;
        text[b][0] = (char)(c < 128 ? c : 0xc0 | c >> 6);
        text[b][1] = (char)(c < 128 ? 0 : 0x80 | (c & 63));
        token[2 + b] = (hone_piece){text[b], n};
        type[2 + b] = HONE_TOKEN_NORMAL;
    }
    hone_vocab v = hone_vocab_default();
    v.pre = "gpt-2";
    v.token = token;
    v.type = type;
    v.n_token = 258;
    v.bos = v.eos = v.eot = 1;
    hone_json_init();
    special = json_object();
    if (hone_tokenizer_open_vocab(&tokenizer, &v, NULL) != HONE_OK ||
        hone_template_compile(&chat, CHATML, strlen(CHATML), NULL) != HONE_OK)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (!tokenizer) set_up();
    const hone_data_rules rules = {
        .tokenizer = tokenizer, .template = chat, .special_tokens = special, .vocab = 258, .max_length = 300};
    hone_train_data data = {0};
    hone_data_faults faults = {0};
    hone_error err = {0};
    char *text = malloc(n ? n : 1); /* exactly n bytes: reading past them is seen */
    if (!text) return 0;
    if (n) memcpy(text, bytes, n);
    const hone_status st = hone_data_parse(&data, "rows", text, n, &rules, &faults, &err);
    if ((st == HONE_OK) != (faults.total == 0 && data.n > 0 && err.code == HONE_OK)) abort();
    for (size_t i = 0; st == HONE_OK && i < data.n; i++) {
        const hone_train_row *r = &data.row[i];
        uint32_t trained = 0;
        for (uint32_t t = 0; t < r->n; t++) {
            if (r->token[t] < 0 || r->token[t] >= 258 || (t == 0 && r->trained[t])) abort();
            trained += r->trained[t];
        }
        if (r->n > 300 || trained == 0 || trained != r->n_trained || r->n_run >= r->n || !r->trained[r->n_run]) abort();
    }
    hone_data_free(&data);
    free(text);
    return 0;
}
