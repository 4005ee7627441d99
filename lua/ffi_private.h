/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_private - what the files of `require "ffi"` share: C types, C values as scripts hold them, calls, callbacks.
 *
 * The prefix ffi_ of functions belongs to libffi, so here a function's prefix is what follows it in the file's name.
 * Types live in the script's arena, as long as the script; every derived type is made once, so most comparisons are of
 * pointers. All of this runs on the script's thread, inside protected calls; only callback.c's entry may be reached
 * from elsewhere, and refuses.
 */
#ifndef LUA_FFI_PRIVATE_H
#define LUA_FFI_PRIVATE_H

#include <ffi.h>

#include "lua/binding.h"

#define CTYPE_SIZE_MAX ((uint64_t)1 << 30) /* bytes of an object; sums and products of checked sizes fit into 64 bits */
#define CTYPE_MAX 10000u                   /* types of a script */
#define CTYPE_DEPTH 100u                   /* of types within types: bounds every recursion over them */
#define CTYPE_OPEN UINT64_MAX              /* the count of an array without one: [] or [?] */
#define CTYPE_ARGS 64u                     /* arguments of a call */
#define CTYPE_BUCKETS 512u                 /* of arrays, by element and count */
#define CCALL_DEPTH 32u                    /* calls of C within each other: a device's thread has little stack */

enum ctype_kind {
    CTYPE_VOID,
    CTYPE_BOOL,
    CTYPE_INT,
    CTYPE_FLOAT,
    CTYPE_ENUM,
    CTYPE_POINTER,
    CTYPE_ARRAY,
    CTYPE_STRUCT, /* and unions */
    CTYPE_FUNCTION,
};

enum ctype_basic {
    BASIC_VOID,
    BASIC_BOOL,
    BASIC_CHAR,
    BASIC_SCHAR,
    BASIC_UCHAR,
    BASIC_SHORT,
    BASIC_USHORT,
    BASIC_INT,
    BASIC_UINT,
    BASIC_LONG,
    BASIC_ULONG,
    BASIC_LLONG,
    BASIC_ULLONG,
    BASIC_FLOAT,
    BASIC_DOUBLE,
    BASICS,
};

/* A member of a struct, a parameter of a function, a name of an enum. */
struct cfield {
    const char *name; /* an interned Lua string, kept; NULL: anonymous */
    struct ctype *type;
    uint64_t offset;
    int64_t value; /* of an enum's name */
    bool readonly;
};

struct ctype {
    enum ctype_kind kind;
    bool is_signed, is_union, packed, variadic;
    bool complete;   /* its size is known */
    bool open;       /* an array without a count, or a struct that ends in one */
    bool elem_const; /* what it points to, or holds, is const */
    uint32_t align, depth;
    uint32_t n; /* of fields */
    uint64_t size, count;
    const char *name;   /* "unsigned int", "struct x", or NULL */
    struct ctype *elem; /* pointed to, in an array, returned by a function */
    struct cfield *fields;
    struct ctype *pointers[2]; /* to this: [1] to const */
    struct ctype *functions, *next; /* those that return this; the next of its bucket or list */
    ffi_type *ffi;
    ffi_cif *cif;
};

/* What an ordinary identifier means. */
enum cname_kind { CNAME_TYPE, CNAME_FUNCTION, CNAME_VARIABLE, CNAME_CONSTANT };
struct cname {
    enum cname_kind kind;
    struct ctype *type;
    int64_t value;
    bool readonly;
};

struct closure;

/* One script's part of this. */
struct ffi_room {
    struct script *script;
    struct ctype basic[BASICS];
    struct ctype *arrays[CTYPE_BUCKETS];
    uint32_t ntypes;
    int tags_ref, names_ref, keep_ref, cache_ref; /* tables: "struct x", identifiers, strings kept, type by its text */
    int callbacks_ref;                            /* closure -> its object, weak */
    uint32_t ncached;
    struct closure *closures;
    uint32_t nclosures;
    int saved_errno;
};

static inline struct ffi_room *room_of(lua_State *L)
{
    return script_of(L)->ffi;
}

/* ---- ffi_ctype.c ---- */
void ctype_open(lua_State *L, struct ffi_room *room);
struct ctype *ctype_new(lua_State *L, enum ctype_kind kind);
struct ctype *ctype_pointer(lua_State *L, struct ctype *t, bool is_const);
struct ctype *ctype_array(lua_State *L, struct ctype *t, bool is_const, uint64_t count);
/* ret and parameters are already what can be passed. */
struct ctype *ctype_function(lua_State *L, struct ctype *ret, const struct cfield *params, uint32_t n, bool variadic);
const char *ctype_name(lua_State *L, const struct ctype *t, bool is_const); /* pushes it */
const char *ctype_keep(lua_State *L, const char *text, size_t len);         /* the interned string, kept */
bool ctype_same(const struct ctype *a, const struct ctype *b);
bool ctype_bytes(const struct ctype *t); /* char, uint8_t and the like */
/* May a pointer to `from` be used where one to `to` is wanted? */
bool ctype_compatible(const struct ctype *to, const struct ctype *from);
/* Why it cannot be passed or returned by value, or NULL. */
const char *ctype_no_value(const struct ctype *t);
ffi_type *ctype_ffi(lua_State *L, struct ctype *t);
/* The member of that name, those of anonymous members included, with its offset from the start of t. */
bool ctype_find(const struct ctype *t, const char *name, struct cfield *found);
void ctype_no_field(lua_State *L, const struct ctype *t, const char *name); /* raises, with a suggestion */

/* ---- ffi_lex.c ---- */
enum token { TOKEN_END, TOKEN_NAME, TOKEN_NUMBER, TOKEN_OTHER };
struct lex {
    lua_State *L;
    const char *p, *end;
    const char *what; /* for messages: the text of a type, or NULL for a cdef */
    uint32_t line, depth;
    enum token token;
    const char *text; /* of the token */
    size_t len;
    uint32_t token_line;
    int64_t value; /* of a number */
};
void lex_start(struct lex *lx, lua_State *L, const char *text, size_t len, bool is_type);
void lex_next(struct lex *lx);
bool lex_is(const struct lex *lx, const char *text);
bool lex_accept(struct lex *lx, const char *text);
void lex_expect(struct lex *lx, const char *text);
void lex_error(struct lex *lx, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
void lex_deeper(struct lex *lx);

/* ---- ffi_cexpr.c ---- */
int64_t cexpr_parse(struct lex *lx);

/* ---- ffi_cdecl.c, ffi_cdef.c ---- */
struct cspec {
    struct ctype *type;
    bool is_const, is_typedef, is_extern, is_static;
    bool untagged; /* struct or union without a name: may be an anonymous member */
};
bool cdecl_is_type(struct lex *lx); /* does a type begin here? */
void cdecl_specifiers(struct lex *lx, struct cspec *spec);
/* The type that a declarator makes of the specifier's. *name is NULL where there is none. */
struct ctype *cdecl_declarator(struct lex *lx, const struct cspec *spec, bool *is_const, const char **name);
struct ctype *cdecl_type(struct lex *lx, bool *is_const); /* a type without a name */
struct cname *cdecl_lookup(lua_State *L, const char *name);
struct cname *cdecl_define(struct lex *lx, const char *name, enum cname_kind kind, struct ctype *type, int64_t value);
struct ctype *cdef_tagged(struct lex *lx, struct cspec *spec); /* struct, union, enum */
void cdef_parse(lua_State *L, const char *text, size_t len);
struct ctype *cdef_type(lua_State *L, int i); /* of the type's text at i; raises */

/* ---- ffi_cdata.c ---- */
struct cdata {
    const struct ctype *type;
    uint8_t *data;            /* where the object is; of a pointer, its value */
    uint8_t *low, *high;      /* what can be reached from here; high NULL: not known */
    const char *name;         /* of a function */
    struct closure *closure;  /* of a callback, until it is freed */
    bool readonly, callback;
    uint64_t own[];
};
enum { CDATA_ANCHOR = 1, CDATA_FINALIZER, CDATA_VALUES = 2 }; /* user values */
void cdata_open(lua_State *L);
struct cdata *cdata_test(lua_State *L, int i);
struct cdata *cdata_own(lua_State *L, const struct ctype *t, uint64_t size); /* zeroed */
/* A pointer, function, or part of another object, which `parent` (or 0) keeps alive. */
struct cdata *cdata_push(lua_State *L, const struct ctype *t, void *data, int parent);
void cdata_finalized(lua_State *L, int i); /* from now on its end is noticed */
bool cdata_reaches(const struct cdata *c, const uint8_t *p, uint64_t size);
void cdata_describe(lua_State *L, int i); /* pushes what the value is, for messages */

/* ---- ffi_conv.c ---- */
enum { CONV_STORE, CONV_ARGUMENT };
void conv_push(lua_State *L, struct ctype *t, uint8_t *from, bool readonly, int parent);
/* All of these give false after pushing a message. */
bool conv_put(lua_State *L, struct ctype *t, void *to, int i, int mode);
bool conv_pointer(lua_State *L, struct ctype *t, int i, int mode, void **pointer);
bool conv_array(lua_State *L, struct ctype *elem, uint8_t *to, uint64_t count, int i);
/* n values from stack index i on, as an initialiser's list. */
bool conv_list(lua_State *L, struct ctype *t, uint8_t *to, uint64_t count, int i, int n);
bool conv_fail(lua_State *L, const char *format, ...);
int conv_cast(lua_State *L, struct ctype *t, int i);

/* ---- ffi_ccall.c ---- */
/* Calls fn with the values from stack index first to the top; gives the number of results. */
int ccall_call(lua_State *L, struct ctype *f, void *fn, const char *name, int first, bool callbacks);

/* ---- ffi_callback.c ---- */
/* A call of C that runs on this thread: where callbacks may happen, and what came of them. */
struct ccall {
    struct ccall *outer;
    uint32_t depth;
    struct ffi_room *room; /* NULL: no callbacks in here */
    lua_State *L;
    int error; /* stack index of what a callback has raised, or 0 */
};
bool callback_enter(struct ccall *call); /* false: too deep; nothing is entered */
void callback_leave(struct ccall *call);
/* Pushes a callback for the function at i; t points to its type. */
void callback_new(lua_State *L, struct ctype *t, int i);
void callback_free(struct cdata *c);
int callback_set(lua_State *L);
int callback_release(lua_State *L);
void callback_close(struct ffi_room *room);

/* ---- ffi_clib.c, ffi_module.c ---- */
void clib_open(lua_State *L);
int clib_load(lua_State *L);
void clib_push(lua_State *L, void *handle, const char *name);
struct ctype *module_type(lua_State *L, int i); /* of a type's text, a ctype, or a value's type */

#endif
