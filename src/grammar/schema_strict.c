/* schema_strict.c - what OpenAI's strict structured outputs demand of a schema, as their documentation lists it:
 * the root is an object; every object closes itself with additionalProperties false and requires all its properties;
 * no allOf, oneOf, not, if, dependentRequired or dependentSchemas; 5000 properties and 10 levels at most. */
#include <string.h>

#include "grammar/schema_impl.h"

#define PROPERTIES_MAX 5000u
#define LEVELS_MAX 10u

typedef struct {
    sc_context *c;
    uint32_t properties;
} strictness;

static bool walk(strictness *s, uint32_t node, uint32_t level);

static bool walk_child(strictness *s, uint32_t parent, const char *key, uint32_t index, const json_t *child,
                       uint32_t level) {
    if (json_is_boolean(child)) return true;
    return walk(s, sc_node_of(s->c, child, parent, key, index), level);
}

static bool is_object_type(const json_t *schema) {
    const json_t *type = json_object_get(schema, "type");
    if (json_is_string(type)) return strcmp(json_string_value(type), "object") == 0;
    for (size_t i = 0; i < json_array_size(type); i++) {
        const char *one = json_string_value(json_array_get(type, i));
        if (one && strcmp(one, "object") == 0) return true;
    }
    return json_object_get(schema, "properties") != NULL;
}

static bool requires(const json_t *required, const char *name) {
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *one = json_string_value(json_array_get(required, i));
        if (one && strcmp(one, name) == 0) return true;
    }
    return false;
}

static bool walk_object(strictness *s, uint32_t node, uint32_t level) {
    sc_context *c = s->c;
    const json_t *json = c->node[node].json, *properties = json_object_get(json, "properties");
    if (!json_is_false(json_object_get(json, "additionalProperties")))
        return sc_refuse(c, HONE_ERR_FORMAT, node, "additionalProperties", "must be given and false in strict mode");
    if (level > LEVELS_MAX)
        return sc_refuse(c, HONE_ERR_FORMAT, node, NULL, "more than %u levels in strict mode", LEVELS_MAX);
    if (!json_is_object(properties)) return true;
    const uint32_t where = sc_node_of(c, properties, node, "properties", 0);
    s->properties += (uint32_t)json_object_size(properties);
    if (s->properties > PROPERTIES_MAX)
        return sc_refuse(c, HONE_ERR_FORMAT, node, "properties", "more than %u properties in strict mode",
                         PROPERTIES_MAX);
    const char *name;
    json_t *child;
    json_object_foreach((json_t *)(uintptr_t)properties, name, child) {
        if (!requires(json_object_get(json, "required"), name))
            return sc_refuse(c, HONE_ERR_FORMAT, node, "required", "must list %.100s in strict mode, as all properties",
                             name);
        if (!walk_child(s, where, name, 0, child, level + 1)) return false;
    }
    return true;
}

static bool walk(strictness *s, uint32_t node, uint32_t level) {
    static const char *const banned[] = {
        "allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"};
    static const char *const lists[] = {"anyOf", "prefixItems"};
    static const char *const maps[] = {"$defs", "definitions"};
    sc_context *c = s->c;
    const json_t *json = c->node[node].json;
    const char *name;
    json_t *child;
    if (!sc_ok(c)) return false;
    if (!json_is_object(json)) return sc_refuse(c, HONE_ERR_FORMAT, node, NULL, "a schema is an object, true or false");
    if (level > 100) return sc_refuse(c, HONE_ERR_LIMIT, node, NULL, "nested too deeply");
    for (size_t i = 0; i < sizeof(banned) / sizeof(*banned); i++)
        if (json_object_get(json, banned[i]))
            return sc_refuse(c, HONE_ERR_FORMAT, node, banned[i], "the keyword is not permitted in strict mode");
    if (is_object_type(json) && !walk_object(s, node, level)) return false;
    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
        const json_t *list = json_object_get(json, lists[i]);
        const uint32_t where = list ? sc_node_of(c, list, node, lists[i], 0) : node;
        for (size_t k = 0; k < json_array_size(list); k++)
            if (!walk_child(s, where, NULL, (uint32_t)k, json_array_get(list, k), level)) return false;
    }
    for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++) {
        json_t *map = json_object_get(json, maps[i]);
        const uint32_t where = map ? sc_node_of(c, map, node, maps[i], 0) : node;
        json_object_foreach(map, name, child) if (!walk_child(s, where, name, 0, child, level)) return false;
    }
    const json_t *items = json_object_get(json, "items");
    return !json_is_object(items) || walk_child(s, node, "items", 0, items, level + 1);
}

bool sc_strict(sc_context *c) {
    const json_t *root = c->node[0].json;
    strictness s = {.c = c};
    if (!json_is_object(root)) return sc_refuse(c, HONE_ERR_FORMAT, 0, NULL, "must be an object in strict mode");
    if (json_object_get(root, "anyOf"))
        return sc_refuse(c, HONE_ERR_FORMAT, 0, "anyOf", "is not permitted at the root in strict mode");
    const char *type = json_string_value(json_object_get(root, "type"));
    if (!json_object_get(root, "$ref") && (!type || strcmp(type, "object") != 0))
        return sc_refuse(c, HONE_ERR_FORMAT, 0, "type", "must be object at the root in strict mode");
    return walk(&s, 0, 1);
}
