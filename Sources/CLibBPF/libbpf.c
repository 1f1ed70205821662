#define _GNU_SOURCE
#include "CLibBPF.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

// Functions of the library, found by name when it is opened.
#define FUNCTIONS(f)                                                                                                   \
    f(bpf_object__open_mem) f(bpf_object__load) f(bpf_object__close) f(bpf_object__find_program_by_name)              \
    f(bpf_object__find_map_by_name) f(bpf_object__next_map) f(bpf_map__set_pin_path) f(bpf_map__name) f(bpf_map__fd)  \
    f(bpf_program__fd) f(bpf_link_create) f(bpf_link_update) f(bpf_link_detach) f(bpf_obj_pin) f(bpf_obj_get)                            \
    f(bpf_obj_get_info_by_fd) f(bpf_prog_get_fd_by_id) f(bpf_tc_hook_create) f(bpf_tc_hook_destroy) f(bpf_tc_attach)  \
    f(bpf_tc_detach) f(bpf_tc_query) f(bpf_map_update_elem) f(bpf_map_lookup_elem) f(bpf_map_delete_elem)             \
    f(bpf_map_get_next_key) f(ring_buffer__new) f(ring_buffer__free) f(ring_buffer__consume) f(libbpf_set_print)

#define DECLARE(name) static __typeof__(&name) lib_##name;
FUNCTIONS(DECLARE)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int opened = -ELIBACC;
// One object is loaded at a time: the library's messages have no address.
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static char *log_text;
static size_t log_room;

static int take_message(enum libbpf_print_level level, const char *format, va_list arguments) {
    if (level == LIBBPF_DEBUG || !log_text || log_room < 2) return 0;
    int count = vsnprintf(log_text, log_room, format, arguments);
    if (count < 0) return 0;
    size_t written = (size_t)count < log_room ? (size_t)count : log_room - 1;
    log_text += written;
    log_room -= written;
    return 0;
}

static void open_library(void) {
    void *library = dlopen("libbpf.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
#define FIND(name)                                                                                                     \
    lib_##name = (__typeof__(&name))dlsym(library, #name);                                                             \
    if (!lib_##name) return;
    FUNCTIONS(FIND)
    lib_libbpf_set_print(take_message);
    opened = 0;
}

int cbpf_open_library(void) {
    pthread_once(&once, open_library);
    return opened;
}

static int load(struct bpf_object *object, const char *pins, const char *node_pins) {
    struct bpf_map *map;
    for (map = NULL; pins && (map = lib_bpf_object__next_map(object, map));) {
        // The programs' constants are theirs alone.
        if (strchr(lib_bpf_map__name(map), '.')) continue;
        char path[512];
        const char *name = lib_bpf_map__name(map);
        int length = snprintf(path, sizeof path, "%s/%s", strncmp(name, "node_", 5) == 0 ? node_pins : pins, name);
        if (length >= (int)sizeof path) return -ENAMETOOLONG;
        int result = lib_bpf_map__set_pin_path(map, path);
        if (result < 0) return result;
    }
    return lib_bpf_object__load(object);
}

struct cbpf_object *cbpf_load(
    const void *bytes, size_t count, const char *name, const char *pins, const char *node_pins, char *log,
    size_t log_capacity, int *error) {
    if (log_capacity) log[0] = 0;
    *error = cbpf_open_library();
    if (*error < 0) return NULL;
    pthread_mutex_lock(&loading);
    log_text = log;
    log_room = log_capacity;
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name);
    struct bpf_object *object = lib_bpf_object__open_mem(bytes, count, &options);
    *error = object ? load(object, pins, node_pins) : -errno;
    if (object && *error < 0) {
        lib_bpf_object__close(object);
        object = NULL;
    }
    log_text = NULL;
    pthread_mutex_unlock(&loading);
    return (struct cbpf_object *)object;
}

void cbpf_unload(struct cbpf_object *object) { lib_bpf_object__close((struct bpf_object *)object); }

int cbpf_program(const struct cbpf_object *object, const char *name) {
    struct bpf_program *program = lib_bpf_object__find_program_by_name((const struct bpf_object *)object, name);
    return program ? lib_bpf_program__fd(program) : -ENOENT;
}

int cbpf_map(const struct cbpf_object *object, const char *name) {
    struct bpf_map *map = lib_bpf_object__find_map_by_name((const struct bpf_object *)object, name);
    return map ? lib_bpf_map__fd(map) : -ENOENT;
}

int cbpf_is_on_file_system(const char *path) {
    struct statfs status;
    if (statfs(path, &status) != 0) return -errno;
    return status.f_type == BPF_FS_MAGIC;
}

int cbpf_attach_interface(int program, unsigned interface, int type) {
    // BPF_F_BEFORE without another program: the first.
    LIBBPF_OPTS(bpf_link_create_opts, options, .flags = 1u << 3);
    return lib_bpf_link_create(program, (int)interface, (enum bpf_attach_type)type, &options);
}

int cbpf_attach(int program, int target, int type) {
    return lib_bpf_link_create(program, target, (enum bpf_attach_type)type, NULL);
}

int cbpf_replace_program(int link, int program) { return lib_bpf_link_update(link, program, NULL); }

int cbpf_detach(int link) { return lib_bpf_link_detach(link); }

int cbpf_pin(int fd, const char *path) { return lib_bpf_obj_pin(fd, path); }

int cbpf_open_pin(const char *path) {
    int result = cbpf_open_library();
    return result < 0 ? result : lib_bpf_obj_get(path);
}

int cbpf_describe_link(int link, struct cbpf_link_info *info) {
    // struct bpf_link_info of a kernel with tcx; the headers may be older.
    struct {
        uint32_t type, id, program, padding;
        uint32_t words[16];
    } raw = {0};
    uint32_t size = sizeof raw;
    int result = lib_bpf_obj_get_info_by_fd(link, &raw, &size);
    if (result < 0) return result;
    *info = (struct cbpf_link_info){
        .type = raw.type, .id = raw.id, .program = raw.program, .target = raw.words[0], .attach_type = raw.words[1]};
    return 0;
}

int cbpf_describe_program(int program, uint32_t *id, char name[16]) {
    struct bpf_prog_info info = {0};
    uint32_t size = sizeof info;
    int result = lib_bpf_obj_get_info_by_fd(program, &info, &size);
    if (result < 0) return result;
    *id = info.id;
    memcpy(name, info.name, 16);
    name[15] = 0;
    return 0;
}

int cbpf_open_program(uint32_t id) { return lib_bpf_prog_get_fd_by_id(id); }

static struct bpf_tc_hook hook_of(unsigned interface, int egress) {
    struct bpf_tc_hook hook = {
        .sz = sizeof hook, .ifindex = (int)interface, .attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS};
    return hook;
}

int cbpf_make_hook(unsigned interface) {
    struct bpf_tc_hook hook = hook_of(interface, 0);
    int result = lib_bpf_tc_hook_create(&hook);
    return result == -EEXIST ? 0 : result < 0 ? result : 1;
}

int cbpf_remove_hook(unsigned interface) {
    struct bpf_tc_hook hook = hook_of(interface, 0);
    hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
    return lib_bpf_tc_hook_destroy(&hook);
}

int cbpf_filter_attach(const struct cbpf_filter *filter, int program) {
    struct bpf_tc_hook hook = hook_of(filter->interface, filter->egress);
    LIBBPF_OPTS(
        bpf_tc_opts, options, .handle = filter->handle, .priority = filter->priority, .prog_fd = program,
        .flags = BPF_TC_F_REPLACE);
    return lib_bpf_tc_attach(&hook, &options);
}

int cbpf_filter_detach(const struct cbpf_filter *filter) {
    struct bpf_tc_hook hook = hook_of(filter->interface, filter->egress);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = filter->handle, .priority = filter->priority);
    return lib_bpf_tc_detach(&hook, &options);
}

int cbpf_filter_query(struct cbpf_filter *filter) {
    struct bpf_tc_hook hook = hook_of(filter->interface, filter->egress);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = filter->handle, .priority = filter->priority);
    int result = lib_bpf_tc_query(&hook, &options);
    if (result == 0) filter->program = options.prog_id;
    return result;
}

int cbpf_map_update(int map, const void *key, const void *value) {
    return lib_bpf_map_update_elem(map, key, value, BPF_ANY);
}

int cbpf_map_lookup(int map, const void *key, void *value) { return lib_bpf_map_lookup_elem(map, key, value); }

int cbpf_map_delete(int map, const void *key) { return lib_bpf_map_delete_elem(map, key); }

int cbpf_map_next_key(int map, const void *key, void *next) { return lib_bpf_map_get_next_key(map, key, next); }

struct cbpf_ring *cbpf_ring_open(
    int map, void *context, int (*body)(void *context, void *bytes, size_t count), int *error) {
    struct ring_buffer *ring = lib_ring_buffer__new(map, body, context, NULL);
    *error = ring ? 0 : -errno;
    return (struct cbpf_ring *)ring;
}

void cbpf_ring_close(struct cbpf_ring *ring) { lib_ring_buffer__free((struct ring_buffer *)ring); }

int cbpf_ring_consume(struct cbpf_ring *ring) { return lib_ring_buffer__consume((struct ring_buffer *)ring); }
