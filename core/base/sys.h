/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys - the three system calls of every request, made directly. In a process with threads the C library wraps them as
 * cancellation points, with two atomic operations each; no thread here is ever cancelled. Any thread; errno as usual.
 */
#ifndef CORE_SYS_H
#define CORE_SYS_H

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__LP64__)
/* Neither the stack nor another library is touched on the way. */
static inline long sys_call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (__builtin_expect(result < 0, 0)) {
        errno = (int)-result;
        result = -1;
    }
    return result;
}
#else
#define sys_call syscall
#endif

static inline ssize_t sys_recvmsg(int fd, struct msghdr *header, int flags)
{
    return sys_call(SYS_recvmsg, fd, (long)header, flags, 0, 0, 0);
}

static inline ssize_t sys_send(int fd, const void *bytes, size_t size, int flags)
{
    return sys_call(SYS_sendto, fd, (long)bytes, (long)size, flags, 0, 0);
}

/* timeout in milliseconds, -1: for ever */
static inline int sys_epoll_wait(int fd, struct epoll_event *events, int room, int timeout)
{
    return (int)sys_call(SYS_epoll_pwait, fd, (long)events, room, timeout, 0, 8);
}

#endif
