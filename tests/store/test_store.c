/* test_store.c - records in and out, pages, deletion with artifacts, keys, repair, and kills at random moments. */
#include "folder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <utime.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store.h"

static hone_store *open_store(folder *f, hone_home_role role) {
    hone_store *store;
    hone_error err;
    if (hone_store_open(&store, f->path, role, &err) != HONE_OK) fail_msg("%s", err.message);
    return store;
}

static void add_artifact(hone_store *store, const char *text, char digest[HONE_DIGEST_TEXT]) {
    assert_int_equal(hone_artifact_add_bytes(hone_store_artifacts(store), text, strlen(text), digest, NULL), HONE_OK);
}

static void add_file(hone_store *store, const char *id, const char *purpose, const char *text, int64_t expires_at) {
    char digest[HONE_DIGEST_TEXT];
    add_artifact(store, text, digest);
    const hone_rec_file rec = {.id = id,
                               .filename = "a.jsonl",
                               .purpose = purpose,
                               .status = "processed",
                               .digest = digest,
                               .bytes = (int64_t)strlen(text),
                               .expires_at = expires_at};
    assert_int_equal(hone_store_file_add(store, &rec, NULL), HONE_OK);
}

static void test_ids_are_random_and_well_formed(void **state) {
    (void)state;
    char a[HONE_ID_MAX], b[HONE_ID_MAX];
    hone_id_make("ftjob-", a);
    hone_id_make("ftjob-", b);
    assert_int_equal(strlen(a), 30);
    assert_int_equal(strncmp(a, "ftjob-", 6), 0);
    assert_string_not_equal(a, b);
    hone_id_make("a prefix that is much longer than any prefix has a right to be, by far", a);
    assert_true(strlen(a) < HONE_ID_MAX);
}

static void test_models_and_aliases(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_store *store = open_store(&f, HONE_HOME_GUEST);
    hone_rec_model m;
    hone_rec_alias a;
    hone_list_model models;
    hone_list_alias aliases;
    char first[HONE_DIGEST_TEXT], second[HONE_DIGEST_TEXT];
    add_artifact(store, "weights 1", first);
    add_artifact(store, "weights 2", second);
    const hone_rec_model rec = {.name = "base",
                                .source = "pip:x",
                                .origin = "https://x/y.whl",
                                .licence = "Apache-2.0",
                                .format = "gguf",
                                .digest = first,
                                .path = "/p",
                                .bytes = 9,
                                .info = "{\"family\":\"llama\"}"};
    assert_int_equal(hone_store_model_put(store, &rec, NULL), HONE_OK);
    assert_int_equal(hone_store_model_get(store, "base", &m, NULL), HONE_OK);
    assert_string_equal(m.source, "pip:x");
    assert_string_equal(m.licence, "Apache-2.0");
    assert_string_equal(m.info, "{\"family\":\"llama\"}");
    assert_int_equal(m.bytes, 9);
    assert_true(m.created_at > 1700000000);
    hone_rec_model_free(&m);
    assert_null(m.name);
    /* In place of the old: its weights go, as nobody else has them. */
    hone_rec_model again = rec;
    again.digest = second;
    again.licence = NULL;
    assert_int_equal(hone_store_model_put(store, &again, NULL), HONE_OK);
    assert_false(hone_artifact_exists(hone_store_artifacts(store), first));
    assert_int_equal(hone_store_model_get(store, "base", &m, NULL), HONE_OK);
    assert_null(m.licence);
    hone_rec_model_free(&m);
    assert_int_equal(hone_store_model_list(store, (hone_page){0}, &models, NULL), HONE_OK);
    assert_int_equal(models.n, 1);
    hone_list_model_free(&models);
    const hone_rec_alias alias = {.name = "prod", .target = "base"};
    assert_int_equal(hone_store_alias_put(store, &alias, NULL), HONE_OK);
    assert_int_equal(hone_store_alias_put(store, &alias, NULL), HONE_OK);
    assert_int_equal(hone_store_alias_get(store, "prod", &a, NULL), HONE_OK);
    assert_string_equal(a.target, "base");
    hone_rec_alias_free(&a);
    assert_int_equal(hone_store_alias_list(store, (hone_page){.order = HONE_ORDER_ASC}, &aliases, NULL), HONE_OK);
    assert_int_equal(aliases.n, 1);
    hone_list_alias_free(&aliases);
    assert_int_equal(hone_store_alias_delete(store, "prod", NULL), HONE_OK);
    hone_error err;
    assert_int_equal(hone_store_alias_delete(store, "prod", &err), HONE_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "prod"));
    assert_int_equal(hone_store_model_delete(store, "base", NULL), HONE_OK);
    assert_int_equal(hone_store_model_get(store, "base", &m, NULL), HONE_ERR_NOT_FOUND);
    assert_null(m.name);
    assert_false(hone_artifact_exists(hone_store_artifacts(store), second));
    hone_store_close(store);
    folder_remove(&f);
}

static void test_files_come_in_pages(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_store *store = open_store(&f, HONE_HOME_GUEST);
    for (int i = 0; i < 25; i++) { /* all within a second or two: order must not hang on the clock */
        char id[16];
        snprintf(id, sizeof(id), "file-%02d", i);
        add_file(store, id, i % 5 ? "fine-tune" : "batch", i % 2 ? "odd" : "even", 0);
    }
    hone_list_file list;
    char after[16] = "";
    int seen = 0;
    for (bool more = true; more;) { /* newest first */
        assert_int_equal(
            hone_store_file_list(store, (hone_page){.after = after[0] ? after : NULL, .limit = 10}, NULL, &list, NULL),
            HONE_OK);
        for (size_t i = 0; i < list.n; i++) {
            char want[24];
            snprintf(want, sizeof(want), "file-%02d", 24 - seen++);
            assert_string_equal(list.rows[i].id, want);
        }
        more = list.has_more;
        snprintf(after, sizeof(after), "%s", list.rows[list.n - 1].id);
        hone_list_file_free(&list);
    }
    assert_int_equal(seen, 25);
    assert_int_equal(hone_store_file_list(store, (hone_page){.limit = 25}, NULL, &list, NULL), HONE_OK);
    assert_false(list.has_more); /* exactly as many as asked for */
    hone_list_file_free(&list);
    assert_int_equal(hone_store_file_list(store, (hone_page){.limit = 2, .order = HONE_ORDER_ASC, .after = "file-05"},
                                          "batch", &list, NULL),
                     HONE_OK);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.rows[0].id, "file-10");
    assert_true(list.has_more);
    hone_list_file_free(&list);
    assert_int_equal(hone_store_file_list(store, (hone_page){0}, "none", &list, NULL), HONE_OK);
    assert_int_equal(list.n, 0);
    hone_list_file_free(&list);
    hone_error err;
    assert_int_equal(hone_store_file_list(store, (hone_page){.after = "file-99"}, NULL, &list, &err),
                     HONE_ERR_NOT_FOUND);
    assert_null(list.rows);
    /* The bytes go with the last file that has them. */
    hone_rec_file file;
    assert_int_equal(hone_store_file_get(store, "file-00", &file, NULL), HONE_OK);
    char digest[HONE_DIGEST_TEXT];
    snprintf(digest, sizeof(digest), "%s", file.digest);
    hone_rec_file_free(&file);
    for (int i = 0; i < 25; i += 2) {
        char id[16];
        snprintf(id, sizeof(id), "file-%02d", i);
        assert_true(hone_artifact_exists(hone_store_artifacts(store), digest));
        assert_int_equal(hone_store_file_delete(store, id, NULL), HONE_OK);
        assert_int_equal(hone_store_file_delete(store, id, NULL), HONE_ERR_NOT_FOUND);
    }
    assert_false(hone_artifact_exists(hone_store_artifacts(store), digest));
    /* A row without bytes cannot come to be; nor one with an id that is taken. */
    hone_rec_file rec = {.id = "file-x", .filename = "x", .purpose = "batch", .status = "processed", .digest = digest};
    assert_int_equal(hone_store_file_add(store, &rec, NULL), HONE_ERR_NOT_FOUND);
    add_artifact(store, "even", digest);
    rec.id = "file-01";
    assert_int_equal(hone_store_file_add(store, &rec, NULL), HONE_ERR_EXISTS);
    hone_store_close(store);
    folder_remove(&f);
}

static void test_files_expire(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_store *store = open_store(&f, HONE_HOME_GUEST);
    const int64_t now = hone_clock_unix();
    add_file(store, "file-old", "batch", "old", now - 1);
    add_file(store, "file-new", "batch", "new", now + 1000);
    hone_rec_file file;
    hone_list_file list;
    assert_int_equal(hone_store_file_get(store, "file-old", &file, NULL), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_store_file_list(store, (hone_page){0}, NULL, &list, NULL), HONE_OK);
    assert_int_equal(list.n, 1);
    hone_list_file_free(&list);
    uint32_t n;
    assert_int_equal(hone_store_file_expire(store, &n, NULL), HONE_OK);
    assert_int_equal(n, 1);
    assert_int_equal(hone_store_file_expire(store, &n, NULL), HONE_OK);
    assert_int_equal(n, 0);
    char digest[HONE_DIGEST_TEXT];
    assert_int_equal(hone_digest_bytes("old", 3, digest), HONE_OK);
    assert_false(hone_artifact_exists(hone_store_artifacts(store), digest));
    hone_store_close(store);
    folder_remove(&f);
}

static void add_job(hone_store *store, const char *id, const char *status) {
    const hone_rec_job rec = {.id = id,
                              .model = "base",
                              .status = status,
                              .organization = "org",
                              .training_file = "file-1",
                              .hyperparameters = "{\"n_epochs\":\"auto\"}",
                              .seed = 42,
                              .trained_tokens = -1};
    assert_int_equal(hone_store_job_add(store, &rec, NULL), HONE_OK);
}

static void expect_status(hone_store *store, const char *id, const char *status, int64_t resume) {
    hone_rec_job job;
    assert_int_equal(hone_store_job_get(store, id, &job, NULL), HONE_OK);
    assert_string_equal(job.status, status);
    assert_int_equal(job.resume, resume);
    hone_rec_job_free(&job);
}

static void test_jobs_their_events_and_checkpoints(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_store *store = open_store(&f, HONE_HOME_GUEST);
    hone_rec_job job;
    assert_int_equal(hone_store_job_claim(store, &job, NULL), HONE_ERR_NOT_FOUND);
    add_job(store, "ftjob-1", "queued");
    add_job(store, "ftjob-2", "validating_files");
    add_job(store, "ftjob-3", "queued");
    assert_int_equal(hone_store_job_claim(store, &job, NULL), HONE_OK); /* the oldest */
    assert_string_equal(job.id, "ftjob-1");
    assert_string_equal(job.status, "running");
    assert_string_equal(job.hyperparameters, "{\"n_epochs\":\"auto\"}");
    assert_int_equal(job.seed, 42);
    assert_int_equal(job.trained_tokens, -1);
    assert_null(job.suffix);
    const int64_t created = job.created_at;
    hone_rec_job change = job;
    change.status = "succeeded";
    change.fine_tuned_model = "ft:base:org::1";
    change.trained_tokens = 1000;
    change.created_at = 1; /* is not taken */
    assert_int_equal(hone_store_job_update(store, &change, "queued", NULL), HONE_ERR_BUSY);
    expect_status(store, "ftjob-1", "running", 0);
    assert_int_equal(hone_store_job_update(store, &change, "running", NULL), HONE_OK);
    change.id = "ftjob-9";
    assert_int_equal(hone_store_job_update(store, &change, NULL, NULL), HONE_ERR_NOT_FOUND);
    hone_rec_job_free(&job);
    assert_int_equal(hone_store_job_get(store, "ftjob-1", &job, NULL), HONE_OK);
    assert_string_equal(job.fine_tuned_model, "ft:base:org::1");
    assert_int_equal(job.created_at, created);
    hone_rec_job_free(&job);
    hone_list_job jobs;
    assert_int_equal(hone_store_job_list(store, (hone_page){.limit = 2}, &jobs, NULL), HONE_OK);
    assert_string_equal(jobs.rows[0].id, "ftjob-3");
    assert_true(jobs.has_more);
    hone_list_job_free(&jobs);

    char id[HONE_ID_MAX], third[HONE_ID_MAX] = "";
    for (int i = 1; i <= 5; i++) {
        int64_t seq;
        char text[32];
        snprintf(text, sizeof(text), "step %d", i);
        const hone_rec_event e = {
            .job_id = "ftjob-1", .level = "info", .type = "metrics", .message = text, .data = "{\"step\":1}"};
        assert_int_equal(hone_store_event_add(store, &e, &seq, id, NULL), HONE_OK);
        assert_int_equal(seq, i);
        if (i == 3) memcpy(third, id, sizeof(third));
        const hone_rec_event other = {.job_id = "ftjob-2", .level = "info", .type = "message", .message = "x"};
        assert_int_equal(hone_store_event_add(store, &other, NULL, NULL, NULL), HONE_OK);
    }
    const hone_rec_event stray = {.job_id = "ftjob-none", .level = "info", .type = "message", .message = "x"};
    assert_int_equal(hone_store_event_add(store, &stray, NULL, NULL, NULL), HONE_ERR_ARG);
    hone_list_event events;
    assert_int_equal(hone_store_event_list(store, "ftjob-1", (hone_page){.after = third, .limit = 10}, &events, NULL),
                     HONE_OK);
    assert_int_equal(events.n, 2);
    assert_string_equal(events.rows[0].message, "step 2");
    hone_list_event_free(&events);
    assert_int_equal(hone_store_event_follow(store, "ftjob-1", 2, 2, &events, NULL), HONE_OK);
    assert_int_equal(events.n, 2);
    assert_true(events.has_more);
    assert_string_equal(events.rows[0].message, "step 3");
    hone_list_event_free(&events);

    char config[HONE_DIGEST_TEXT], weights[HONE_DIGEST_TEXT];
    add_artifact(store, "{}", config);
    add_artifact(store, "weights", weights);
    const hone_rec_checkpoint k = {.id = "ftckpt-1",
                                   .job_id = "ftjob-1",
                                   .version = "ft:base:org::1:ckpt-step-5",
                                   .step_number = 5,
                                   .metrics = "{\"train_loss\":1.5}",
                                   .config_digest = config,
                                   .weights_digest = weights};
    assert_int_equal(hone_store_checkpoint_add(store, &k, NULL), HONE_OK);
    hone_rec_checkpoint found;
    assert_int_equal(hone_store_checkpoint_find(store, "ft:base:org::1:ckpt-step-5", &found, NULL), HONE_OK);
    assert_int_equal(found.step_number, 5);
    hone_rec_checkpoint_free(&found);
    hone_list_checkpoint checkpoints;
    assert_int_equal(hone_store_checkpoint_list(store, "ftjob-1", (hone_page){.limit = 10}, &checkpoints, NULL),
                     HONE_OK);
    assert_int_equal(checkpoints.n, 1);
    hone_list_checkpoint_free(&checkpoints);

    /* A version that shares its bytes with the checkpoint: deleting it leaves them; its id is not given again. */
    const hone_rec_version v = {.id = "ft:base:org::1",
                                .base = "base",
                                .job_id = "ftjob-1",
                                .config_digest = config,
                                .weights_digest = weights,
                                .bytes = 7};
    assert_int_equal(hone_store_version_add(store, &v, NULL), HONE_OK);
    const hone_rec_alias alias = {.name = "prod", .target = "ft:base:org::1"};
    assert_int_equal(hone_store_alias_put(store, &alias, NULL), HONE_OK);
    assert_int_equal(hone_store_version_delete(store, v.id, NULL), HONE_OK);
    hone_rec_version gone;
    hone_rec_alias gone_alias;
    assert_int_equal(hone_store_version_get(store, v.id, &gone, NULL), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_store_alias_get(store, "prod", &gone_alias, NULL), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_store_version_delete(store, v.id, NULL), HONE_ERR_NOT_FOUND);
    assert_true(hone_artifact_exists(hone_store_artifacts(store), weights));
    assert_int_equal(hone_store_version_add(store, &v, NULL), HONE_ERR_EXISTS);
    hone_rec_version alone = v;
    char own[HONE_DIGEST_TEXT];
    add_artifact(store, "own weights", own);
    alone.id = "ft:base:org::2";
    alone.weights_digest = own;
    assert_int_equal(hone_store_version_add(store, &alone, NULL), HONE_OK);
    hone_list_version versions;
    assert_int_equal(hone_store_version_list(store, (hone_page){0}, &versions, NULL), HONE_OK);
    assert_int_equal(versions.n, 1);
    hone_list_version_free(&versions);
    assert_int_equal(hone_store_version_delete(store, alone.id, NULL), HONE_OK);
    assert_false(hone_artifact_exists(hone_store_artifacts(store), own));
    hone_store_close(store);
    folder_remove(&f);
}

static void test_keys(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_store *store = open_store(&f, HONE_HOME_GUEST);
    char secret[HONE_KEY_TEXT], other[HONE_KEY_TEXT];
    hone_rec_key key, found;
    assert_int_equal(hone_store_key_add(store, "ci", secret, &key, NULL), HONE_OK);
    assert_int_equal(strlen(secret), HONE_KEY_TEXT - 1);
    assert_int_equal(strncmp(secret, "sk-hone-", 8), 0);
    assert_string_equal(key.name, "ci");
    assert_null(strstr(key.prefix, secret + 12)); /* what may be shown does not give it away */
    assert_int_equal(hone_store_key_check(store, secret, &found, NULL), HONE_OK);
    assert_string_equal(found.id, key.id);
    assert_true(found.last_used_at > 0);
    hone_rec_key_free(&found);
    memcpy(other, secret, sizeof(other));
    other[20] = other[20] == 'A' ? 'B' : 'A';
    assert_int_equal(hone_store_key_check(store, other, &found, NULL), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_store_key_check(store, "", &found, NULL), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_store_key_check(store, "sk-hone-", &found, NULL), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_store_key_check(store, key.hash, &found, NULL),
                     HONE_ERR_NOT_FOUND); /* a stolen table opens nothing */
    hone_list_key keys;
    assert_int_equal(hone_store_key_list(store, (hone_page){0}, &keys, NULL), HONE_OK);
    assert_int_equal(keys.n, 1);
    hone_list_key_free(&keys);
    assert_int_equal(hone_store_key_delete(store, key.id, NULL), HONE_OK);
    assert_int_equal(hone_store_key_delete(store, key.id, NULL), HONE_ERR_NOT_FOUND);
    assert_int_equal(hone_store_key_check(store, secret, &found, NULL), HONE_ERR_NOT_FOUND);
    hone_rec_key_free(&key);
    hone_store_close(store);
    /* The secret is nowhere in the folder. */
    hone_buf bytes = {0};
    assert_int_equal(hone_file_read(folder_at(&f, "hone.db"), &bytes, 0, NULL), HONE_OK);
    assert_null(memmem(bytes.data, bytes.n, secret + 8, 20));
    hone_buf_free(&bytes);
    folder_remove(&f);
}

static void test_a_start_repairs(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_store *store = open_store(&f, HONE_HOME_GUEST);
    char forgotten[HONE_DIGEST_TEXT], fresh[HONE_DIGEST_TEXT];
    add_job(store, "ftjob-run", "running");
    add_job(store, "ftjob-val", "validating_files");
    add_job(store, "ftjob-end", "succeeded");
    add_file(store, "file-kept", "batch", "kept", 0);
    add_artifact(store, "forgotten", forgotten);
    add_artifact(store, "fresh", fresh);
    char *path = hone_artifact_path(hone_store_artifacts(store), forgotten);
    const struct utimbuf old = {time(NULL) - 100000, time(NULL) - 100000};
    assert_int_equal(utime(path, &old), 0);
    hone_free(path);
    hone_digest_bytes("kept", 4, forgotten + 0);
    path = hone_artifact_path(hone_store_artifacts(store), forgotten); /* old as well, but a file has it */
    assert_int_equal(utime(path, &old), 0);
    hone_free(path);
    hone_digest_bytes("forgotten", 9, forgotten);
    hone_store_close(store);

    store = open_store(&f, HONE_HOME_GUEST); /* a guest repairs nothing: the controller may be running */
    expect_status(store, "ftjob-run", "running", 0);
    hone_store_close(store);
    store = open_store(&f, HONE_HOME_CONTROLLER);
    expect_status(store, "ftjob-run", "queued", 1);
    expect_status(store, "ftjob-val", "validating_files", 0);
    expect_status(store, "ftjob-end", "succeeded", 0);
    hone_list_event events;
    assert_int_equal(hone_store_event_list(store, "ftjob-run", (hone_page){0}, &events, NULL), HONE_OK);
    assert_int_equal(events.n, 1);
    hone_list_event_free(&events);
    hone_digest_bytes("kept", 4, fresh);
    assert_true(hone_artifact_exists(hone_store_artifacts(store), fresh));
    hone_digest_bytes("fresh", 5, fresh);
    assert_true(hone_artifact_exists(hone_store_artifacts(store), fresh));
    assert_false(hone_artifact_exists(hone_store_artifacts(store), forgotten));
    hone_error err;
    hone_store *second, *beside;
    assert_int_equal(hone_store_open(&second, f.path, HONE_HOME_CONTROLLER, &err), HONE_ERR_BUSY);
    assert_int_equal(hone_store_open_beside(&beside, store, &err), HONE_OK);
    expect_status(beside, "ftjob-run", "queued", 1);
    assert_string_equal(hone_home_path(hone_store_home(beside)), f.path);
    hone_store_close(beside);
    hone_store_close(store);
    folder_remove(&f);
}

/* ---- kill -9 at random moments ---- */

#define ROUNDS 12

/* Writes without end and says on out what was done; killed in the middle of something. */
static void write_for_ever(folder *f, int out, unsigned round) {
    hone_store *store;
    if (hone_store_open(&store, f->path, HONE_HOME_CONTROLLER, NULL) != HONE_OK) _exit(1);
    for (unsigned i = 0;; i++) {
        char digest[HONE_DIGEST_TEXT], id[HONE_ID_MAX], line[HONE_ID_MAX + 8], text[64];
        hone_rec_job job;
        snprintf(text, sizeof(text), "content %u %u", round, i);
        hone_status status = hone_artifact_add_bytes(hone_store_artifacts(store), text, strlen(text), digest, NULL);
        hone_id_make("file-", id);
        const hone_rec_file file = {.id = id,
                                    .filename = text,
                                    .purpose = "batch",
                                    .status = "processed",
                                    .digest = digest,
                                    .bytes = (int64_t)strlen(text)};
        if (status == HONE_OK) status = hone_store_file_add(store, &file, NULL);
        snprintf(line, sizeof(line), "+%s\n", id);
        if (status != HONE_OK || write(out, line, strlen(line)) < 0) _exit(2);
        if (i % 3 == 2) { /* said before it is done: it may be gone or not, but nothing else */
            snprintf(line, sizeof(line), "-%s\n", id);
            if (write(out, line, strlen(line)) < 0 || hone_store_file_delete(store, id, NULL) != HONE_OK) _exit(3);
        }
        hone_id_make("ftjob-", id);
        const hone_rec_job rec = {
            .id = id, .model = "base", .status = "queued", .training_file = "f", .trained_tokens = -1};
        if (hone_store_job_add(store, &rec, NULL) != HONE_OK || hone_store_job_claim(store, &job, NULL) != HONE_OK)
            _exit(4);
        for (int k = 0; k < 3; k++) {
            const hone_rec_event e = {.job_id = job.id, .level = "info", .type = "message", .message = text};
            if (hone_store_event_add(store, &e, NULL, NULL, NULL) != HONE_OK) _exit(5);
        }
        hone_rec_job done = job;
        done.status = "succeeded";
        if (i % 2 && hone_store_job_update(store, &done, "running", NULL) != HONE_OK) _exit(6);
        hone_rec_job_free(&job);
    }
}

/* What must hold after any crash. */
static void check_invariants(folder *f, const char *said) {
    hone_store *store = open_store(f, HONE_HOME_CONTROLLER);
    hone_list_file files;
    hone_list_job jobs;
    assert_int_equal(hone_db_check(hone_store_db(store), NULL), HONE_OK);
    assert_int_equal(hone_store_file_list(store, (hone_page){0}, NULL, &files, NULL), HONE_OK);
    for (size_t i = 0; i < files.n; i++) /* every file has its bytes, whole */
        assert_int_equal(hone_artifact_verify(hone_store_artifacts(store), files.rows[i].digest, NULL), HONE_OK);
    for (const char *at = said; at && *at; at = strchr(at, '\n') + 1) { /* what was reported is there */
        char id[HONE_ID_MAX], deleted[HONE_ID_MAX + 1];
        const size_t n = strcspn(at, "\n");
        if (at[n] != '\n') break;
        if (at[0] != '+') continue;
        snprintf(id, sizeof(id), "%.*s", (int)n - 1, at + 1);
        snprintf(deleted, sizeof(deleted), "-%s", id);
        hone_rec_file file;
        if (!strstr(said, deleted)) {
            assert_int_equal(hone_store_file_get(store, id, &file, NULL), HONE_OK);
            hone_rec_file_free(&file);
        }
    }
    hone_list_file_free(&files);
    assert_int_equal(hone_store_job_list(store, (hone_page){0}, &jobs, NULL), HONE_OK);
    for (size_t i = 0; i < jobs.n; i++) {
        assert_string_not_equal(jobs.rows[i].status, "running");
        if (strcmp(jobs.rows[i].status, "queued") == 0 && i > 1) continue;
        hone_list_event events;
        assert_int_equal(hone_store_event_follow(store, jobs.rows[i].id, 0, 0, &events, NULL), HONE_OK);
        for (size_t k = 0; k < events.n; k++) assert_int_equal(events.rows[k].seq, k + 1); /* no gaps */
        hone_list_event_free(&events);
    }
    hone_list_job_free(&jobs);
    char temp[128];
    snprintf(temp, sizeof(temp), "%s/artifact/tmp", f->path);
    assert_int_equal(rmdir(temp), 0); /* it is empty */
    hone_store_close(store);
}

static void test_kills_at_random_moments_lose_nothing(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_buf said = {0};
    unsigned seed = (unsigned)time(NULL);
    print_message("seed %u\n", seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        int out[2];
        assert_int_equal(pipe(out), 0);
        const pid_t pid = fork();
        if (pid == 0) {
            close(out[0]);
            write_for_ever(&f, out[1], round);
        }
        close(out[1]);
        char chunk[4096];
        ssize_t n = read(out[0], chunk, sizeof(chunk)); /* it has begun */
        if (n > 0) hone_buf_add(&said, chunk, (size_t)n);
        usleep((unsigned)(rand_r(&seed) % 120000));
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        while ((n = read(out[0], chunk, sizeof(chunk))) > 0) hone_buf_add(&said, chunk, (size_t)n);
        close(out[0]);
        check_invariants(&f, hone_buf_str(&said));
    }
    assert_non_null(strchr(hone_buf_str(&said), '-'));
    hone_buf_free(&said);
    folder_remove(&f);
}

/* Each allocation of ours fails in turn (test_db.c does it with SQLite's). */
static void test_every_failed_allocation_is_survived(void **state) {
    (void)state;
    folder f;
    folder_make(&f);
    hone_store *store = open_store(&f, HONE_HOME_GUEST);
    add_job(store, "ftjob-1", "queued");
    add_file(store, "file-1", "batch", "x", 0);
    hone_store_close(store);
    for (int64_t fail_at = 0, done = 0; !done; fail_at++) {
        const int64_t live = hone_mem_live;
        hone_list_job jobs = {0};
        hone_rec_job job = {0};
        hone_rec_key key = {0};
        char secret[HONE_KEY_TEXT];
        const hone_rec_event e = {.job_id = "ftjob-1", .level = "info", .type = "message", .message = "x"};
        hone_mem_fail_at = fail_at;
        hone_status status = hone_store_open(&store, f.path, HONE_HOME_CONTROLLER, NULL);
        if (status == HONE_OK) status = hone_store_job_list(store, (hone_page){.limit = 5}, &jobs, NULL);
        if (status == HONE_OK) status = hone_store_job_claim(store, &job, NULL);
        if (status == HONE_OK) status = hone_store_event_add(store, &e, NULL, NULL, NULL);
        if (status == HONE_OK) status = hone_store_key_add(store, "k", secret, &key, NULL);
        if (status == HONE_OK) status = hone_store_file_delete(store, "file-1", NULL);
        done = status == HONE_OK;
        hone_mem_fail_at = -1;
        if (!done) assert_int_equal(status, HONE_ERR_NOMEM);
        hone_list_job_free(&jobs);
        hone_rec_job_free(&job);
        hone_rec_key_free(&key);
        hone_store_close(store);
        assert_int_equal(hone_mem_live, live);
        assert_true(fail_at < 3000);
    }
    folder_remove(&f);
}

int main(void) {
    hone_log_set_level(HONE_LOG_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_are_random_and_well_formed),
        cmocka_unit_test(test_models_and_aliases),
        cmocka_unit_test(test_files_come_in_pages),
        cmocka_unit_test(test_files_expire),
        cmocka_unit_test(test_jobs_their_events_and_checkpoints),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_a_start_repairs),
        cmocka_unit_test(test_kills_at_random_moments_lose_nothing),
        cmocka_unit_test(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
