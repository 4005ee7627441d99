/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sys - the three system calls of every request, made directly. In a process with threads the C library wraps them as
 * cancellation points, with two atomic operations each; no thread here is ever cancelled. Any thread; errno as usual.
 */
#ifndef CORE_SYS_H
#define CORE_SYS_H

#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline ssize_t sys_recvmsg(int fd, struct msghdr *header, int flags)
{
    return syscall(SYS_recvmsg, fd, header, flags);
}

static inline ssize_t sys_send(int fd, const void *bytes, size_t size, int flags)
{
    return syscall(SYS_sendto, fd, bytes, size, flags, NULL, 0);
}

/* timeout in milliseconds, -1: for ever */
static inline int sys_epoll_wait(int fd, struct epoll_event *events, int room, int timeout)
{
    return (int)syscall(SYS_epoll_pwait, fd, events, room, timeout, NULL, (size_t)8);
}

#endif
