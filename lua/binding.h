/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * binding - what the files of the Lua binding share: one script, its Lua state, what it declared, its running hooks.
 *
 * One struct script is one device and one Lua state. It is used by one thread at a time: main's in describe, create and
 * destroy, the device's in between. Only `epoch`, `stale` and the list links are seen by the ticker (budget.c).
 * The binding uses nothing of the host but <vfu/plugin.h>.
 */
#ifndef LUA_BINDING_H
#define LUA_BINDING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <vfu/plugin.h>

#define SCRIPT_MEMORY ((size_t)64 << 20)     /* ceiling of a script's memory */
#define SCRIPT_BUDGET UINT64_C(1000000000)   /* ns a callback may run */
#define SCRIPT_TRANSFER ((uint64_t)16 << 20) /* bytes of the largest DMA, buffer access or string */
#define SCRIPT_ARGS 16                       /* arguments of an event */

/* The bottom of the main stack between callbacks: the traceback handler and the device. */
#define STACK_TRACEBACK 1
#define STACK_DEVICE 2

/* vfu_plugin.event numbers: an event of the script by its key in `calls`, or the end of a vfu.sleep. */
#define EVENT_CALL 0u
#define EVENT_SLEEP 1u

struct field_info {
    const char *key; /* the interned name: equal pointers are equal names */
    bool flag;       /* a boolean, not a number */
};

struct reg_decl {
    struct vfu_reg r;
    const char *where; /* "file:line: " of the author's reg() */
    const char *full;  /* "GROUP.NAME" or "NAME" */
    struct field_info *info;
    uint32_t id; /* index in vfu_regmap.regs */
    bool used;
    int read_ref, write_ref;
};

struct group_decl {
    struct vfu_group g;
    const char *where;
    struct reg_decl **regs;
    uint32_t nregs;
    uint32_t id;
    bool used;
};

struct lock_decl {
    struct vfu_lock l;
    int ref;      /* the function, or LUA_NOREF */
    int name_ref; /* the register's name as a Lua string */
};

struct bar_decl {
    struct vfu_bar b;
    const char *where;
    int read_ref, write_ref;
    struct buffer *ram;
    struct vfu_doorbell *bells;
    uint32_t nbells, first_bell; /* first_bell: in vfu_desc.doorbells */
};

struct display_decl {
    struct display_decl *next;
    const char *outputs;
    int32_t number; /* the host's, from create on */
    int memory_ref; /* what it shows */
};

/* A growing array of pointers. */
struct list {
    void **items;
    uint32_t n, room;
};

enum { HOOK_RESET, HOOK_ATTACH, HOOK_DETACH, HOOK_POWER, HOOK_SAVE, HOOK_LOAD, HOOK_DOORBELL, HOOK_CONFIG, HOOK_DRIVER, HOOKS };

struct task;
struct arena;
struct ffi_room;
struct virtio;
struct wrapper;

struct script {
    lua_State *L;
    const struct vfu_host *host;
    const struct vfu_host_regmap *regs; /* NULL until create */
    const struct vfu_host_config *config;   /* these two: NULL too with a host that has none */
    const struct vfu_host_regions *regions;
    const struct vfu_host_stream *streaming; /* NULL where the script has no streams */
    const struct vfu_host_display *display; /* NULL too if the script has no display */
    char *path;
    int result;  /* of describe, where the host has explained it already */
    bool sealed; /* the script has run: nothing more can be declared */
    const struct vfu_params *given; /* what describe was called with; NULL afterwards */
    struct wrapper *wrap;           /* the plugin that the script has opened, or NULL */

    /* memory and collection */
    size_t used, limit, gc_mark, gc_seen, gc_owed;
    bool gc_armed;

    /* time: epoch is odd while a callback runs; the ticker copies it to stale when it has run too long */
    _Atomic uint64_t epoch, stale;
    uint32_t depth; /* calls into Lua that are inside of each other: hooks of a wrapper */
    uint64_t budget, seen_epoch, seen_ns; /* seen_*: the ticker's */
    bool stuck;                           /* the ticker's */
    struct script *next_timed;
    bool tripped;

    /* declarations */
    struct arena *arena;
    struct vfu_desc d;
    bool declared;
    const char *where; /* of vfu.device */
    const char *irq_level, *irq_mask;
    struct list reglist, groups, locks, caps, streams;
    struct bar_decl *bars[6];
    struct display_decl *displays;
    int on[HOOKS];

    /* registry references */
    int fence_ref, dev_ref, members_ref, regs_ref, state_ref, events_ref, calls_ref, names_ref, unpack_ref, eval_ref;
    int kind_refs[3];      /* the names of the resets, so that a reset takes no memory */
    const char *key_value; /* the interned "value" */

    /* running */
    struct task *task;    /* the hook that runs and may suspend, or NULL */
    struct task *spare;   /* idle coroutines */
    struct task *tasks;   /* suspended ones */
    struct task *restart; /* loaded ones, without a coroutine, in order */
    uint32_t ntasks;
    bool frozen, wake_armed;
    uint64_t next_key; /* of calls and sleeps */

    /* require "ffi": its part of this, or NULL, and where it was required */
    struct ffi_room *ffi;
    const char *ffi_where;

    struct virtio *virtio; /* what virtio.device has made, or NULL */

    /* what goes wrong again and again is told once in a while */
    uint64_t report_window;
    uint32_t report_count, report_dropped;
};

static inline struct script *script_of(lua_State *L)
{
    return *(struct script **)lua_getextraspace(L);
}

/* ---- util.c: arguments, options, words ---- */
void *util_alloc(lua_State *L, size_t size); /* zeroed, lives as long as the script; raises */
char *util_strdup(lua_State *L, const char *text);
void util_arena_free(struct script *s);
void util_append(lua_State *L, struct list *list, void *item);
bool util_is_name(const char *text);
bool util_integer(lua_State *L, int i, lua_Integer *value); /* an integer, or a float that is one; no strings */
lua_Integer util_check_integer(lua_State *L, int i, const char *what);
/* What the value at i is, for a message that says what was expected instead; valid as long as room and the value. */
const char *util_kind(lua_State *L, int i, char room[32]);
const char *util_suggest(const char *word, const char *const *words);
/* "; did you mean X?" or "", from the string keys of the table at i; pushes it. */
void util_push_suggestion(lua_State *L, int i, const char *word);
int util_fail(lua_State *L, const char *where, const char *format, ...) __attribute__((format(printf, 3, 4), noreturn));
const char *util_where(lua_State *L, int level); /* "file:line: ", kept with the script */
/* Refuses string keys that are not in names, and list items unless list. */
void util_keys(lua_State *L, int i, const char *what, const char *const *names, bool list);
lua_Integer util_opt_integer(lua_State *L, int i, const char *what, const char *key, lua_Integer fallback,
                             lua_Integer min, lua_Integer max);
bool util_opt_bool(lua_State *L, int i, const char *what, const char *key);
const char *util_opt_string(lua_State *L, int i, const char *what, const char *key); /* kept with the script, or NULL */
int util_errno(const char *name);                                                    /* "EIO": EIO; 0 if it is none */
const char *util_errno_name(int number);
bool util_size(const char *text, lua_Integer *value);
/* Why reading the path might never end, or NULL: it is no regular file, or too large. One that is not there says so itself. */
const char *util_no_file(const char *path, uint64_t most);
/* A table that reads from `members` (on top of the stack, replaced) and refuses to be written. */
void util_push_proxy(lua_State *L, const char *what, lua_CFunction newindex);

/* ---- state.c ---- */
int state_new(struct script *s);
int state_run(struct script *s); /* loads and runs the script; 0, or -ENOEXEC after a message */
void state_close(struct script *s);
void *state_alloc(void *ud, void *ptr, size_t osize, size_t nsize);
void state_enter(struct script *s);
void state_leave(struct script *s);
/* Calls the function below nargs arguments on the main stack. On failure the error is reported as `what` and popped. */
int state_call(struct script *s, int nargs, int nresults, const char *what);
/* Reports what has stopped `co` (`problem`, or the message on its top); for people, rate-limited. */
void state_report(struct script *s, lua_State *co, const char *what, const char *problem);
/* ... what is wrong with what the function `ref` has returned; told at its first line. */
void state_report_result(struct script *s, const char *what, int ref, const char *text);
void state_report_text(struct script *s, const char *what, const char *text);

int state_require(lua_State *L);

/* The script is made of this file too: a change of it is one of the script. Before it is opened. */
void state_watch(struct script *s, const char *path);

/* ---- sandbox.c ---- */
void sandbox_open(lua_State *L);

/* ---- budget.c ---- */
int budget_start(struct script *s);
void budget_stop(struct script *s);
void budget_set(struct script *s, uint64_t ns);
void budget_arm(lua_State *L);
void budget_check(lua_State *L); /* of a function that takes long by itself: raises if the callback's time is up */
bool budget_stopped(lua_State *L); /* it was in this thread that a callback's time was up */
/* The ticker sleeps: whoever begins a callback wakes it. */
extern _Atomic bool budget_asleep;
void budget_wake(void);

/* ---- device.c, declare.c, params.c, map.c ---- */
int declare_device(lua_State *L);
void device_needs(lua_State *L, struct script *s, int spec, const char *what);
void device_state(lua_State *L, struct script *s, int spec, const char *what);
int declare_bar(lua_State *L);
int declare_config(lua_State *L);
int declare_lock(lua_State *L);
void declare_finish(lua_State *L, struct vfu_desc *desc);      /* raises */
void params_declare(lua_State *L, struct script *s, int spec); /* pushes the params object */
int map_reg(lua_State *L);
int map_flag(lua_State *L);
int map_field(lua_State *L);
int map_group(lua_State *L);
void map_open(lua_State *L);
const char *map_intern(lua_State *L, const char *name); /* the one pointer of this text */
void map_add(lua_State *L, int list, uint32_t region, uint64_t region_size, const char *region_name);
struct reg_decl *map_find(struct script *s, const char *full);
void map_push(lua_State *L, struct reg_decl *reg);
struct reg_decl *map_test(lua_State *L, int i); /* NULL: it is no register */
void map_check(lua_State *L, struct script *s, uint32_t region);

/* ---- doorbell.c ---- */
void doorbell_declare(lua_State *L, struct bar_decl *bar, const char *what); /* of the options at 3 */
void doorbell_finish(lua_State *L, struct script *s, struct vfu_desc *desc);
void doorbell_ring(void *self, uint32_t index, uint64_t value);

/* ---- config.c ---- */
int config_read(lua_State *L);  /* dev:config_read */
int config_write(lua_State *L); /* dev:config_write */
void config_written(void *self, const struct vfu_config_call *call);
/* Pushes what bar.NAME is, if it is something of the host's. */
bool config_bar_index(lua_State *L, struct bar_decl *bar, const char *name);

/* ---- object.c ---- */
void object_open(lua_State *L);
void object_device(lua_State *L, struct script *s); /* pushes the device */
void object_member(lua_State *L, struct script *s, const char *name, const char *where,
                   bool reg); /* value on top, popped */
void object_push_reg(lua_State *L, struct reg_decl *reg);
void object_push_group(lua_State *L, struct group_decl *group);
/* A register: what it is, and its value now. */
bool object_test_reg(lua_State *L, int i, const struct reg_decl **reg, uint64_t *value);
void object_check_state(lua_State *L, int i, const char *name);

/* ---- ffi_module.c ---- */
int module_open(lua_State *L);         /* pushes the module that require "ffi" gives; raises if it is denied */
void module_check_needs(lua_State *L); /* raises where ffi was required without being declared */

/* ---- grant.c ---- */
int grant_granted(lua_State *L); /* dev:granted */

/* ---- hooks.c ---- */
extern const char *const hooks_on_names[]; /* NULL-terminated, by HOOK_* */
void hooks_push(lua_State *L, const char *kind); /* "read", "write", "event" or "on" */
void hooks_push_bar(lua_State *L, struct bar_decl *bar);
int hooks_on(struct script *s, int hook, const char *name, int nargs); /* arguments on the main stack, popped */

/* ---- access.c ---- */
int32_t access_read(void *self, struct vfu_reg_call *call);
int32_t access_write(void *self, struct vfu_reg_call *call);
int32_t access_locked(void *self, uint32_t hook, const struct vfu_reg_call *call);
int32_t access_raw(void *self, struct vfu_access *access);
void access_restart(struct script *s, const struct task *saved);

/* ---- task.c ---- */
enum { TASK_EVENT, TASK_WRITE, TASK_RAW, TASK_WRAP, TASK_QUEUE };
struct task {
    struct task *next, *prev;
    struct script *s;
    lua_State *co;
    int ref;
    uint32_t kind;
    bool suspended, waiting, inflight, cancelled, oneshot;
    bool nowait;                /* TASK_WRAP: its caller cannot do without the result */
    uint64_t key;               /* in calls: TASK_EVENT: its call. TASK_RAW, TASK_WRAP: its data, if long, or 0 */
    uint64_t alarm;             /* asleep: the key of its timer, or 0 */
    const struct reg_decl *reg; /* TASK_WRITE */
    const struct bar_decl *bar; /* TASK_RAW */
    uint64_t value, old, raw, offset;
    uint32_t index, group_index, size;
    /* TASK_WRAP (wraphook.c): which hook, with what; index is a BAR or a vector, offset and value are as in an access or
     * the address of a DMA of `size` bytes */
    uint32_t hook;
    const uint8_t *data;   /* long data, as long as the call lasts that has started it */
    struct vfu_dma_op *of; /* the inner plugin's DMA that it is about, or NULL */
    bool parked;           /* its own DMA waits until the inner plugin submits */
    /* TASK_QUEUE (chain.c): index is the queue, group_index its epoch, value the chain's head */
    bool chained; /* the DMA is of a chain: a reset of the driver's waits for it */
    bool queued;  /* it is one of a queue's calls, which are counted */
    /* the DMA it waits for */
    struct vfu_dma_op op;
    uint32_t width; /* 0: a string; 1 to 8: an integer of so many bytes */
    int32_t status;
    const struct vfu_host *via; /* whose dma_submit it goes to */
};
struct task *task_get(struct script *s, const char *what); /* NULL after a report */
/* Runs the function and nargs arguments on the task's stack. 0: done, results are on its stack (task_put when read);
 * 1: suspended; negative: failed, reported and put back. */
int task_run(struct task *t, int nargs);
void task_put(struct task *t);
bool task_may_wait(lua_State *L);
int task_wait_dma(lua_State *L, const struct vfu_host *host, uint64_t addr, const void *data, uint64_t len, uint32_t flags,
                  uint32_t width);
/* The same, going on with `more`, which looks at status and op and calls task_waited. */
int task_wait_for(lua_State *L, const struct vfu_host *host, uint64_t addr, const void *data, uint64_t len, uint32_t flags,
                  uint32_t width, lua_KFunction more);
void task_waited(struct task *t);
/* A parked one may go on; 0, or dma_submit's error, with which it has gone on. */
int32_t task_unpark(struct task *t);
void task_close(struct task *t); /* in the middle of its wait */
bool task_last(struct script *s, uint64_t key); /* of this event: the hook that runs or waits is its last; false: none */
int task_sleep(lua_State *L); /* vfu.sleep */
void task_wake_sleeper(struct script *s, uint64_t key);
void task_wake_cancelled(struct script *s);
void task_resubmit(struct script *s);
void task_close_all(struct script *s);
void task_free(struct script *s);
void task_describe(const struct task *t, char *text, size_t len);

/* ---- eval.c ---- */
int32_t eval_eval(void *self, const char *expr, char *out, uint32_t size);

/* ---- wrap.c: a plugin that the script wraps; those with `s` are called only if there is one ---- */
int wrap_plugin(lua_State *L); /* vfu.plugin */
void wrap_finish(lua_State *L, struct vfu_desc *desc);
int32_t wrap_create(struct script *s);
void wrap_destroy(struct script *s);
int32_t wrap_save(struct script *s, struct vfu_sink *sink);
int32_t wrap_load(struct script *s, struct vfu_source *source);
int32_t wrap_poll(void *self);
void wrap_irq_level(void *self, uint64_t bits);
void *wrap_inner(struct script *s); /* a struct vfu_wrap */

/* ---- wraphook.c, wrapdma.c: its hooks ---- */
int32_t wraphook_intercept(void *self, struct vfu_access *access);
void wraphook_restart(struct script *s, const struct task *saved);
bool wraphook_saved(const struct task *t); /* that it waits is a part of the state */
const char *wraphook_name(uint32_t hook);
bool wraphook_has(const struct script *s, uint32_t hook);
bool wrapdma_parks(const struct task *t); /* nobody waits for its DMA yet */
/* A hook is over: with its results on its stack (0), or failed. What else it was to do is the caller's. */
void wrapdma_over(struct task *t, int32_t status);
/* DMA of the inner plugin's that a hook holds ends with -ECANCELED. */
void wrapdma_cancel(struct script *s);

/* ---- virtio.c: require "vfu.virtio"; those with `s` are called only if it has declared the device ---- */
int virtio_open(lua_State *L); /* pushes the module */
void virtio_finish(lua_State *L);
int32_t virtio_create(struct script *s);
void virtio_destroy(struct script *s);
bool virtio_owns(const struct script *s, uint32_t reg);
int32_t virtio_read(struct script *s, struct vfu_reg_call *call);
int32_t virtio_write(struct script *s, struct vfu_reg_call *call);
bool virtio_ring(struct script *s, uint32_t index, uint64_t value); /* false: not a bell of its own */
void virtio_reset(struct script *s, uint32_t kind);
void virtio_detach(struct script *s);
void virtio_quiesce(struct script *s);
void virtio_resume(struct script *s);
int32_t virtio_save(struct script *s, struct vfu_sink *sink);
int32_t virtio_load(struct script *s, struct vfu_source *source);

/* ---- chain.c ---- */
void chain_failed(struct task *t);
void chain_over(struct task *t); /* for a task that is queued: the call is over */
void chain_describe(const struct task *t, char *text, size_t len);
void chain_hold(struct script *s); /* DMA of a chain begins, ends */
void chain_release(struct script *s);

/* ---- event.c ---- */
enum { CALL_NAME = 1, CALL_ARGS, CALL_EVERY, CALL_TIMER, CALL_FIRST }; /* an entry of `calls` */
void event_open(lua_State *L);
int event_after(lua_State *L);
int event_every(lua_State *L);
void event_fire(struct script *s, uint64_t key);
int event_start(struct script *s, uint64_t key, bool oneshot);
void event_done(struct script *s, uint64_t key);
void event_clear(struct script *s);

/* ---- buffer.c, dma.c, irq.c, log.c, qmp.c, report.c, save.c, load.c ---- */
struct buffer {
    uint8_t *data; /* NULL: a RAM BAR before create */
    uint64_t size;
    uint8_t own[];
};
void buffer_open(lua_State *L);
int buffer_new(lua_State *L);
struct buffer *buffer_test(lua_State *L, int i);
void buffer_push_ram(lua_State *L, struct bar_decl *bar);
/* Shared with views. span: pointer to [off, off + n) of the object at 1, or NULL after pushing nil, message. */
bool buffer_fault(lua_State *L, uint64_t size, lua_Integer off, lua_Integer n);
bool buffer_length(lua_State *L, lua_Integer n); /* false after pushing nil, message */
/* A metatable, left on the stack, with these methods, and u8, u16, u32, u64: closures of one function, which asks
 * buffer_width how many bytes it is about. */
void buffer_new_type(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction integer);
uint32_t buffer_width(lua_State *L);
int buffer_push_integer(lua_State *L, const uint8_t *data, uint32_t width);
void buffer_pull_integer(uint8_t *data, uint32_t width, lua_Integer value);
int buffer_unpack(lua_State *L, const uint8_t *data, uint64_t left, lua_Integer off);
void dma_open(lua_State *L);
void dma_push(lua_State *L);
const char *dma_message(int32_t status);
void irq_push(lua_State *L);
int irq_push_result(lua_State *L, int32_t rc); /* true, false, or nil and a message */
void log_open(lua_State *L); /* print, vfu.log on the table on top */
int log_guest_error(lua_State *L);
int crc_crc32(lua_State *L); /* vfu.crc32 */
int report_report(lua_State *L); /* dev:report */

/* ---- stream.c ---- */
void stream_open_type(lua_State *L);
int stream_new(lua_State *L); /* vfu.stream */
int stream_open_all(struct script *s);
void stream_close_all(struct script *s);

/* ---- save.c, load.c ---- */
/* By value, through a host table: the script's own, or that of a plugin inside. */
int dma_read_through(lua_State *L, const struct vfu_host *host, lua_Integer addr, lua_Integer n);
int dma_write_through(lua_State *L, const struct vfu_host *host, lua_Integer addr, const char *data, size_t n);
#define SAVE_MAGIC "VFUL"
#define SAVE_VERSION 3u /* and back to ... */
#define SAVE_OLDEST 2u  /* without K */
#define SAVE_DEPTH 64 /* of tables */
int save_kind(lua_State *L, int i); /* what a state value at i is by declaration, as a letter */
void qmp_open(lua_State *L);
int qmp_new(lua_State *L); /* vfu.qmp */
void display_setup(lua_State *L);
int display_declare(lua_State *L);     /* vfu.display */
int display_create(struct script *s); /* 0 or -errno, explained */
int32_t save_save(void *self, struct vfu_sink *sink);
int32_t load_load(void *self, struct vfu_source *source);
int32_t save_own(struct script *s, struct vfu_sink *sink); /* without a wrapped plugin's */
int32_t load_own(struct script *s, struct vfu_source *source);
bool save_empty(struct script *s); /* there is nothing of its own to be saved */
void load_restart(struct script *s); /* starts again what was saved while it waited */
void load_drop(struct script *s);    /* forgets it */

#endif
