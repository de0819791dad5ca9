/* eval.c - questions to answers to scores; the contract is in eval.h.
 * Order: rows, prompts, the run, grading. */
#include "lab/eval.h"

#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

/* Rows -------------------------------------------------------------------------------------------------------------*/

static hone_status take_messages(hone_eval_row *r, const json_t *messages, hone_error *err) {
    const size_t n = json_array_size(messages);
    const json_t *last = n ? json_array_get(messages, n - 1) : NULL;
    const char *role = json_string_value(json_object_get(last, "role"));
    r->reference = json_string_value(json_object_get(last, "content"));
    if (n < 2 || !role || strcmp(role, "assistant") != 0 || !r->reference)
        return hone_fail(err, HONE_ERR_FORMAT, "the last message must be the assistant's, with a text: the reference");
    if (!(r->input = json_array())) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    for (size_t i = 0; i + 1 < n; i++)
        if (json_array_append(r->input, json_array_get(messages, i)) != 0)
            return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    return HONE_OK;
}

static hone_status take_row(hone_eval_data *data, const char *text, size_t n, uint64_t line, hone_error *err) {
    if (!hone_grow(&data->row, &data->cap, data->n, sizeof(*data->row)))
        return hone_fail(err, HONE_ERR_NOMEM, "no memory for the rows");
    hone_eval_row *r = &data->row[data->n];
    *r = (hone_eval_row){.line = line, .row = hone_json_parse(text, n, err)};
    if (!r->row) return err ? err->code : HONE_ERR_FORMAT;
    data->n++;
    const json_t *messages = json_object_get(r->row, "messages");
    if (json_is_array(messages)) return take_messages(r, messages, err);
    r->prompt = json_string_value(json_object_get(r->row, "prompt"));
    r->reference = json_string_value(json_object_get(r->row, "completion"));
    if (r->prompt && r->reference) return HONE_OK;
    return hone_fail(err, HONE_ERR_FORMAT, "a row needs \"messages\", or \"prompt\" and \"completion\"");
}

static bool is_blank(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return false;
    return true;
}

hone_status hone_eval_load(hone_eval_data *data, const char *path, hone_error *err) {
    hone_error own = {0};
    if (!err) err = &own;
    hone_map map;
    hone_status status = hone_map_path(&map, path, err);
    if (status != HONE_OK) return status;
    const char *at = (const char *)map.data, *end = at + map.bytes;
    for (uint64_t line = 1; at < end && status == HONE_OK; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        if (!is_blank(at, (size_t)(stop - at))) status = take_row(data, at, (size_t)(stop - at), line, err);
        if (status != HONE_OK) {
            hone_fail_within(err, status, "%s: line %llu: ", path, (unsigned long long)line);
            err->position = (int64_t)line;
        }
        at = stop + 1;
    }
    hone_map_close(&map);
    if (status == HONE_OK && data->n == 0) return hone_fail(err, HONE_ERR_FORMAT, "%s: no rows", path);
    return status;
}

void hone_eval_free(hone_eval_data *data) {
    for (size_t i = 0; i < data->n; i++) {
        json_decref(data->row[i].input);
        json_decref(data->row[i].row);
    }
    hone_free(data->row);
    *data = (hone_eval_data){0};
}

/* The run ----------------------------------------------------------------------------------------------------------*/

typedef struct {
    const hone_eval_data *data;
    const hone_text *text;
    hone_ids *output; /* [n] */
    size_t n_done;
    uint64_t n_output;
    hone_status status;
    hone_error *err;
    char **answer;
    hone_status (*on_answer)(void *arg, size_t n_done);
    void *arg;
} run;

static bool ends(const hone_text *t, int32_t id) {
    for (uint32_t i = 0; i < t->n_end; i++)
        if (t->end[i] == id) return true;
    return false;
}

static void row_done(run *r, size_t i) {
    hone_ids *ids = &r->output[i];
    if (ids->n && ends(r->text, ids->id[ids->n - 1])) ids->n--;
    hone_buf text = {0};
    r->status = hone_tokenizer_decode(r->text->tokenizer, ids->id, ids->n, true, &text, r->err);
    if (r->status == HONE_OK && !(r->answer[i] = hone_buf_take(&text, NULL)))
        r->status = hone_fail(r->err, HONE_ERR_NOMEM, "no memory for the answers");
    hone_buf_free(&text);
    hone_ids_free(ids);
    r->n_done++;
    if (r->status == HONE_OK && r->on_answer) r->status = r->on_answer(r->arg, r->n_done);
}

static void on_event(void *arg, const hone_event *event) {
    run *r = arg;
    const size_t i = (size_t)event->id;
    if (r->status != HONE_OK) return;
    if (event->kind == HONE_EVENT_TOKEN) {
        r->n_output++;
        if (!hone_ids_add(&r->output[i], event->token))
            r->status = hone_fail(r->err, HONE_ERR_NOMEM, "no memory for the answers");
    } else if (event->kind == HONE_EVENT_DONE) {
        if (event->finish == HONE_FINISH_ERROR) {
            r->status = hone_fail(r->err, event->error ? event->error->code : HONE_ERR_INTERNAL, "line %llu: %s",
                                  (unsigned long long)r->data->row[i].line,
                                  event->error ? event->error->message : "the engine gave up");
            return;
        }
        row_done(r, i);
    }
}

static hone_status prompt_of(const hone_text *text, const hone_eval_row *row, hone_ids *out, hone_error *err) {
    if (row->prompt)
        return hone_tokenizer_encode(text->tokenizer, row->prompt, strlen(row->prompt), HONE_ENCODE_ADD_SPECIAL, out,
                                     err);
    const hone_chat_input in = {
        .messages = row->input, .tools = json_object_get(row->row, "tools"), .add_generation_prompt = true};
    return hone_text_chat(text, &in, out, err);
}

static hone_status submit(hone_engine *engine, const hone_text *text, const hone_eval_row *row, size_t i,
                          const char *adapter, const hone_eval_config *cfg, uint32_t context, uint64_t *n_prompt,
                          hone_error *err) {
    hone_ids ids = {0};
    hone_status status = prompt_of(text, row, &ids, err);
    if (status == HONE_OK && ids.n == 0) status = hone_fail(err, HONE_ERR_FORMAT, "the prompt has no tokens");
    /* An answer ends where the context does; a prompt that fills it is an error. */
    const uint32_t left = ids.n < context ? context - (uint32_t)ids.n : 1;
    hone_engine_request q = {
        .id = i,
        .prompt = ids.id,
        .n_prompt = (uint32_t)ids.n,
        .max_tokens = cfg->max_tokens < left ? cfg->max_tokens : left,
        .sampling = {.temperature = cfg->temperature, .top_p = 1, .repetition_penalty = 1, .seed = cfg->seed + i},
        .n_logprobs = -1,
        .adapter = adapter};
    q.n_stop = text->n_end < HONE_MAX_STOP_TOKENS ? text->n_end : HONE_MAX_STOP_TOKENS;
    for (uint32_t k = 0; k < q.n_stop; k++) q.stop[k] = text->end[k];
    if (status == HONE_OK) status = hone_engine_submit(engine, &q, err);
    *n_prompt += ids.n;
    hone_ids_free(&ids);
    if (status != HONE_OK) hone_fail_within(err, status, "line %llu: ", (unsigned long long)row->line);
    return status;
}

hone_status hone_eval_answers(char **answer, const hone_eval_data *data, const hone_model *model, const hone_text *text,
                              hone_pool *pool, hone_adapter *adapter, const hone_eval_config *cfg,
                              hone_status (*on_answer)(void *arg, size_t n_done), void *arg, hone_eval_cost *cost,
                              hone_error *err) {
    run r = {.data = data, .text = text, .err = err, .answer = answer, .on_answer = on_answer, .arg = arg};
    const double start = hone_clock_seconds();
    char digest[HONE_DIGEST_TEXT] = "adapter";
    hone_engine *engine = NULL;
    hone_engine_config engine_cfg = hone_engine_defaults(model);
    if (cfg->max_rows_at_once) engine_cfg.max_sequences = cfg->max_rows_at_once;
    memset(answer, 0, data->n * sizeof(*answer));
    *cost = (hone_eval_cost){0};
    hone_status status = hone_engine_open(&engine, model, pool, &engine_cfg, err);
    if (status != HONE_OK) hone_adapter_free(adapter);
    if (status == HONE_OK && adapter) {
        if (adapter->digest[0]) memcpy(digest, adapter->digest, sizeof(digest));
        status = hone_engine_add_adapter(engine, digest, adapter, err);
    }
    if (status == HONE_OK && !(r.output = hone_zalloc(data->n, sizeof(*r.output))))
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory for the answers");
    for (size_t i = 0; i < data->n && status == HONE_OK; i++)
        status = submit(engine, text, &data->row[i], i, adapter ? digest : NULL, cfg, model->arch.max_position,
                        &cost->prompt_tokens, err);
    while (status == HONE_OK && r.n_done < data->n) {
        const bool more = hone_engine_step(engine, on_event, &r);
        status = r.status;
        if (status == HONE_OK && !more && r.n_done < data->n)
            status =
                hone_fail(err, HONE_ERR_INTERNAL, "the engine stopped with %zu of %zu rows done", r.n_done, data->n);
    }
    for (size_t i = 0; r.output && i < data->n; i++) hone_ids_free(&r.output[i]);
    hone_free(r.output);
    hone_engine_close(engine);
    for (size_t i = 0; status != HONE_OK && i < data->n; i++) {
        hone_free(answer[i]);
        answer[i] = NULL;
    }
    cost->output_tokens = r.n_output;
    cost->seconds = hone_clock_seconds() - start;
    return status;
}

/* Grading ----------------------------------------------------------------------------------------------------------*/

hone_status hone_eval_grade(double *score, const hone_eval_data *data, char *const *answer, const hone_grader *grader,
                            hone_error *err) {
    for (size_t i = 0; i < data->n; i++) {
        const hone_status status = hone_grade(grader, answer[i], data->row[i].reference, &score[i], err);
        if (status != HONE_OK)
            return hone_fail_within(err, status, "line %llu: ", (unsigned long long)data->row[i].line);
    }
    return HONE_OK;
}
