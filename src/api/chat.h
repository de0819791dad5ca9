/* chat.h - a chat completion between its request (chat.c) and its reply (chat_reply.c). */
#ifndef HONE_API_CHAT_H
#define HONE_API_CHAT_H

#include "api/generate.h"
#include "api/reply.h"

typedef struct {
    char id[HONE_ID_MAX];
    char name[API_CALL_NAME + 1];
    hone_buf arguments; /* of a whole reply; streams give them out */
} chat_tool_call;

/* One choice's reply, part by part. */
typedef struct {
    struct chat *chat;
    api_choice *choice;
    api_splitter *splitter;
    bool told_role;
    hone_buf content, reasoning; /* of a whole reply */
    bool reasoned;               /* there was reasoning, perhaps empty */
    chat_tool_call *tool_call;   /* [n_tool_call] */
    size_t n_tool_call, cap_tool_call;
} chat_choice;

/* The call's own part. */
typedef struct chat {
    hone_ids prompt;
    api_think think;
    const api_dialect *dialect; /* the base's */
    api_tools tools;
    chat_choice *choice; /* [n] */
    uint32_t n;
    bool logprobs;
    bool failed;    /* no memory for a part: the whole reply is an error */
    char *metadata; /* JSON, NULL: none */
} chat;

/* Makes the choices' splitters; false: no memory. */
bool chat_begin(api_call *call);
void chat_free(void *own);

extern const api_call_hooks chat_collect, chat_stream;

#endif
