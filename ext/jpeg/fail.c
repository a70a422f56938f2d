/* libjpeg's errors behind int codes: the only file that calls setjmp and longjmp. */
#include "inside.h"

#include <stdarg.h>

_Static_assert(TURBO_MESSAGE == JMSG_LENGTH_MAX, "libjpeg formats into a buffer of this size");

static _Noreturn void fail(j_common_ptr cinfo)
{
    failure *failed = (failure *)cinfo->err;
    failed->lib.format_message(cinfo, failed->message);
    failed->code = failed->lib.msg_code == JERR_OUT_OF_MEMORY ? TURBO_NO_MEMORY : TURBO_BAD;
    longjmp(failed->escape, 1);
}

_Noreturn void refuse(j_common_ptr cinfo, int code, const char *format, ...)
{
    failure *failed = (failure *)cinfo->err;
    va_list values;
    va_start(values, format);
    vsnprintf(failed->message, TURBO_MESSAGE, format, values);
    va_end(values);
    failed->code = code;
    longjmp(failed->escape, 1);
}

/* Level -1 is "corrupt, but I can guess": libjpeg would go on with grey blocks, which is a wrong tile. */
static void warned(j_common_ptr cinfo, int level)
{
    if (level < 0)
        fail(cinfo);
}

static void silent(j_common_ptr cinfo) {}

struct jpeg_error_mgr *failure_open(failure *failed, char *message)
{
    jpeg_std_error(&failed->lib);
    failed->lib.error_exit = fail;
    failed->lib.emit_message = warned;
    failed->lib.output_message = silent;
    failed->message = message;
    return &failed->lib;
}

int guarded(failure *failed, void (*work)(void *), void *job)
{
    if (setjmp(failed->escape))
        return failed->code;
    work(job);
    return TURBO_OK;
}
