/* The functions that a Jobwright host offers to core WebAssembly modules, in addition to WASI
 * preview 1: those of wit/job.wit as plain imports of the module "jobwright". The payload is on
 * stdin, the output goes to stdout, and the job's metadata is in the environment:
 *
 *   JOBWRIGHT_JOB_ID, JOBWRIGHT_QUEUE
 *   JOBWRIGHT_ATTEMPT        from 1; counts every attempt, also those that do not count as failures
 *   JOBWRIGHT_FAILURES       attempts that have failed so far, of those that count
 *   JOBWRIGHT_ATTEMPTS_LEFT  attempts that can follow if this one and all that follow fail: 0 in the
 *                            last one
 *   JOBWRIGHT_MAX_ATTEMPTS   the number of the last attempt then: ATTEMPT plus ATTEMPTS_LEFT
 *   JOBWRIGHT_PLUGIN         name@version
 *   JOBWRIGHT_CONTENT_TYPE   of the payload; empty if the submitter named none
 *   JOBWRIGHT_CREATED_AT_MS  milliseconds since 1970-01-01T00:00:00Z
 *   JOBWRIGHT_TAGS           a JSON array of strings
 *
 * A plugin or a job with `inject_env` set to false has none of these variables.
 *
 * Every pointer is to the memory that the module exports as "memory"; one that reaches beyond it
 * traps. Text is UTF-8 with its length in bytes, not ended by a NUL. */
#ifndef JOBWRIGHT_H
#define JOBWRIGHT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define JOBWRIGHT_IMPORT(name) __attribute__((import_module("jobwright"), import_name(name)))

enum jobwright_level {
    JOBWRIGHT_TRACE,
    JOBWRIGHT_DEBUG,
    JOBWRIGHT_INFO,
    JOBWRIGHT_WARN,
    JOBWRIGHT_ERROR,
    JOBWRIGHT_CRITICAL
};

/* Writes a line to the job's log. */
JOBWRIGHT_IMPORT("log")
void jobwright_log(int32_t level, const char *message, size_t length);

/* Reports the progress of the job: from 0 to 1, or NaN if it is unknown. The host keeps the latest report. */
JOBWRIGHT_IMPORT("progress")
void jobwright_progress(double fraction, const char *message, size_t length);

/* Returns 1 if the attempt should end, else 0. A guest that has called this function gets a grace period
 * (one second unless the job sets another) to save a checkpoint; a guest that never calls it is stopped at
 * once. */
JOBWRIGHT_IMPORT("is_cancelled")
int32_t jobwright_is_cancelled(void);

/* Returns the milliseconds until the job's time limit. */
JOBWRIGHT_IMPORT("remaining_ms")
int64_t jobwright_remaining_ms(void);

/* Returns the remaining fuel; -1 if it is unlimited. */
JOBWRIGHT_IMPORT("remaining_fuel")
int64_t jobwright_remaining_fuel(void);

/* Replaces the checkpoint, which survives a failed, interrupted or lost attempt. Returns 0 if it was saved;
 * -1 if it is longer than the job's limit, and then nothing was changed. */
JOBWRIGHT_IMPORT("checkpoint_save")
int32_t jobwright_checkpoint_save(const void *state, size_t length);

/* Copies the first `length` bytes of the checkpoint to `state`. Returns its whole length, or -1 if there is
 * none: call it with length 0 first. */
JOBWRIGHT_IMPORT("checkpoint_load")
int32_t jobwright_checkpoint_load(void *state, size_t length);

/* Sets the media type of the output. Without this call, the host detects JSON and text. Returns 0, or -1 if
 * the media type is invalid. */
JOBWRIGHT_IMPORT("output_type")
int32_t jobwright_output_type(const char *media_type, size_t length);

/* Values that are kept from one job of the plugin to the next, if the operator grants that: keys of at most
 * 1 KiB, values of at most 1 MiB. They are the bucket "default" of wasi:keyvalue. A call that is not granted,
 * or for which there is no room, returns JOBWRIGHT_REFUSED, and the log has the reason. */
#define JOBWRIGHT_REFUSED (-2)

/* Copies the first `length` bytes of a value to `value`. Returns its whole length, or -1 if there is none. */
JOBWRIGHT_IMPORT("value_get")
int32_t jobwright_value_get(const char *key, size_t key_length, void *value, size_t length);

/* Sets a value. Returns 0, or JOBWRIGHT_REFUSED. */
JOBWRIGHT_IMPORT("value_set")
int32_t jobwright_value_set(const char *key, size_t key_length, const void *value, size_t length);

/* Removes a value, if there is one. Returns 0, or JOBWRIGHT_REFUSED. */
JOBWRIGHT_IMPORT("value_delete")
int32_t jobwright_value_delete(const char *key, size_t length);

/* Adds atomically to a value that is a number in decimal digits (a missing value counts as 0), and stores the
 * sum at `sum`. Returns 0, or JOBWRIGHT_REFUSED. */
JOBWRIGHT_IMPORT("value_add")
int32_t jobwright_value_add(const char *key, size_t length, int64_t by, int64_t *sum);

/* Copies the first `length` bytes of the configuration value of this name to `value`. Returns its whole
 * length, -1 if there is none, or JOBWRIGHT_REFUSED if the operator has configured nothing at all. */
JOBWRIGHT_IMPORT("config_get")
int32_t jobwright_config_get(const char *name, size_t name_length, char *value, size_t length);

/* Sends an HTTP request, if the operator grants it, and waits for the whole response. `request`
 * is JSON: {"url": "https://api.example.com/v1", "method": "POST", "headers": {"accept": "text/plain"}},
 * without a method a GET. Its url and headers have 64 KiB at most, and the JSON, in which they may be
 * escaped, 384 KiB. Returns the status of the response, which counts towards the guest's memory until the
 * next request; or JOBWRIGHT_REFUSED if the request is not granted or got no response, and the log has the
 * reason. */
JOBWRIGHT_IMPORT("http_send")
int32_t jobwright_http_send(const char *request, size_t request_length, const void *body,
                            size_t body_length);

/* Copies the first `length` bytes of the last response's headers, a JSON object with names in lower
 * case, to `headers`. Returns their whole length, or -1 if there is no response. */
JOBWRIGHT_IMPORT("http_headers")
int32_t jobwright_http_headers(char *headers, size_t length);

/* Copies the first `length` bytes of the last response's body to `body`. Returns its whole length, or -1 if
 * there is no response. */
JOBWRIGHT_IMPORT("http_body")
int32_t jobwright_http_body(void *body, size_t length);

/* Sets the reason of a failure, before the guest exits with a code other than 0. With `retry` 0 the job is
 * discarded; else another attempt follows `delay_ms` from now (-1: the host's back-off; at most 366 days). */
JOBWRIGHT_IMPORT("fail")
void jobwright_fail(int32_t retry, int64_t delay_ms, const char *message, size_t length);

/* Snoozes the job, before the guest exits with a code other than 0: another attempt follows `delay_ms`
 * from now (-1: the host's back-off; at most 366 days), and this one does not count as a failure. After
 * 100 of these in sequence, or after 7 days of them, the next one counts. Of jobwright_fail and
 * jobwright_later the last call takes effect. */
JOBWRIGHT_IMPORT("later")
void jobwright_later(int64_t delay_ms, const char *message, size_t length);

#ifdef __cplusplus
}
#endif

#endif
