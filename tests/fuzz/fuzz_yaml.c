/* Configuration texts: the YAML reader, and --vars with the same bytes. */
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf *c;
    if (conf_load("fuzz.yaml", (const char *)data, size, NULL, &c) == SK_OK)
        conf_free(c);
    if (conf_default(&c) == SK_OK) {
        int err = conf_load_vars(c, "vars.json", (const char *)data, size, NULL);
        (void)err;
        conf_free(c);
    }
    return 0;
}
