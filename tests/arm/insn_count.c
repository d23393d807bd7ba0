/* Counts the instructions that an emulated processor executes: a plugin of QEMU 7.2.
 *
 * gcc -O2 -shared -fPIC -o insn_count.so insn_count.c
 * qemu-aarch64 -plugin ./insn_count.so,out=FILE,mark=173 ... program
 *
 * Every system call `mark` (getppid: 173 on aarch64, 64 on 32-bit ARM) appends the count so far to
 * FILE, as one line. The counter is not atomic: it is exact for programs of one thread.
 *
 * QEMU 7.2 comes without its header, so the few declarations that are used stand here. Later
 * versions refuse the version number below instead of misreading it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 1;

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
enum { ADD_U64 = 0 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id,
    void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
             uint64_t, uint64_t, uint64_t));

static uint64_t executed;
static int64_t mark_call = 173;
static FILE *out;

/* A block of guest code runs from its first instruction to its last, or not at all. */
static void on_translate(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed,
                                             qemu_plugin_tb_n_insns(block));
}

static void on_system_call(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b,
                           uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != mark_call)
        return;
    fprintf(out, "%" PRIu64 "\n", executed);
    fflush(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int n_words, char **words)
{
    (void)info;
    for (int i = 0; i < n_words; i++) {
        if (!strncmp(words[i], "out=", 4)) {
            out = fopen(words[i] + 4, "w");
        } else if (sscanf(words[i], "mark=%" SCNd64, &mark_call) != 1) {
            fprintf(stderr, "insn_count: unknown option '%s'\n", words[i]);
            return -1;
        }
    }
    if (!out) {
        fprintf(stderr, "insn_count: out=FILE is missing, or cannot be written\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
