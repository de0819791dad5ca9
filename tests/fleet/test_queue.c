/* test_queue.c - who is let in: several that come together all or none, and what copies take beside what runs. */
#include "test.h"

#include "fleet/controller_private.h"

typedef struct {
    hone_controller c;
    hone_component m;
    copy_link link[2];
} rig;

/* Two copies of `most` places each, and a queue for `waiting`. */
static void rig_open(rig *r, uint32_t most, uint32_t waiting) {
    *r = (rig){.c.cfg = {.max_waiting = waiting, .engine.max_sequences = most}};
    r->m = (hone_component){.controller = &r->c, .link = r->link, .n_link = 2};
    r->link[0].ready = r->link[1].ready = true;
}

static void waits(rig *r, uint32_t n, uint32_t tokens) {
    r->m.n_waiting += n;
    r->m.sum[HONE_PRIORITY_USUAL].n += n;
    r->m.sum[HONE_PRIORITY_USUAL].prompt += (uint64_t)n * tokens;
    r->m.sum[HONE_PRIORITY_USUAL].output += (uint64_t)n * 10;
}

static bool takes(rig *r, uint32_t n) {
    const hone_newcomer one = {.priority = HONE_PRIORITY_USUAL, .n = n, .n_prompt = 10ull * n, .max_tokens = 10};
    hone_error err = {.position = HONE_NO_POSITION};
    const hone_status status = hone_controller_admits(&r->m, &one, &err);
    if (status == HONE_OK) return true;
    assert_int_equal(status, HONE_ERR_FULL);
    assert_true(err.position >= 1);
    return false;
}

/* In one turn of the loop nothing has gone to the copies yet: what they will take counts as much as places. */
static void a_burst_fills_places_spare_ones_and_the_queue(void **state) {
    (void)state;
    rig r;
    rig_open(&r, 4, 3);
    const uint32_t room = 2 * queue_room(&r.m);
    assert_int_equal(room, 10);
    uint32_t n = 0;
    while (n < 100 && takes(&r, 1)) {
        waits(&r, 1, 10);
        n++;
    }
    assert_int_equal(n, room + 3);
    /* and the same once they were sent */
    rig_open(&r, 4, 3);
    r.link[0].n_running = r.link[1].n_running = 5;
    for (n = 0; n < 100 && takes(&r, 1); n++) waits(&r, 1, 10);
    assert_int_equal(n, 3);
    r.link[1].n_running = 4; /* a spare place is no reason to refuse */
    assert_true(takes(&r, 1));
    assert_false(takes(&r, 2));
}

static void those_that_come_together_are_taken_together(void **state) {
    (void)state;
    rig r;
    rig_open(&r, 4, 3);
    r.link[0].n_running = r.link[1].n_running = 5;
    assert_true(takes(&r, 3));
    assert_false(takes(&r, 4));
    waits(&r, 1, 10);
    assert_true(takes(&r, 2));
    assert_false(takes(&r, 3));
    assert_int_equal(r.m.refused[HONE_REFUSED_REQUESTS], 2);
    /* More than ever fits waits for everything to be free, and not for ever. */
    rig_open(&r, 4, 3);
    assert_true(takes(&r, 64));
    waits(&r, 1, 10);
    assert_false(takes(&r, 64));
    rig_open(&r, 4, 3); /* no copy yet */
    r.link[0].ready = r.link[1].ready = false;
    assert_true(takes(&r, 64));
    waits(&r, 1, 10);
    assert_false(takes(&r, 64));
    assert_true(takes(&r, 2));
}

static void tokens_of_all_count(void **state) {
    (void)state;
    rig r;
    rig_open(&r, 4, 100);
    r.c.cfg.max_waiting_tokens = 100;
    r.link[0].n_running = r.link[1].n_running = 5;
    waits(&r, 1, 50);
    assert_true(takes(&r, 5));
    assert_false(takes(&r, 6));
    assert_int_equal(r.m.refused[HONE_REFUSED_TOKENS], 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_fills_places_spare_ones_and_the_queue),
        cmocka_unit_test(those_that_come_together_are_taken_together),
        cmocka_unit_test(tokens_of_all_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
