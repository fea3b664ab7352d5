#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "rules/rule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses what the rest is: rules, thresholds behind a rule, or classifications. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rule_var addrs[] = {
        {"HOME_NET", "[10.0.0.0/8,!10.1.0.0/16,fd00::/8]"}, {"EXTERNAL_NET", "!$HOME_NET"}, {"LOOP", "[$LOOP]"}};
    static const struct rule_var ports[] = {{"HTTP_PORTS", "[80,8000:8100,!8050]"}, {"LOOP", "$LOOP"}};
    static const char one[] = "alert tcp $EXTERNAL_NET any -> $HOME_NET $HTTP_PORTS (msg:\"x\"; content:\"a\"; sid:1;)";
    const struct rule_conf conf = {.addr_vars = addrs, .naddr = 3, .port_vars = ports, .nport = 2};
    struct rule_loader *l;
    const struct rule_set *set;
    if (size == 0 || rule_loader_create(&conf, NULL, &l) != SK_OK)
        return 0;
    const char *text = (const char *)data + 1;
    int rc = 0;
    if (data[0] == 't') {
        rc = rule_loader_rules(l, "one", one, sizeof one - 1);
        rc |= rule_loader_thresholds(l, "fuzz", text, size - 1);
    } else if (data[0] == 'c') {
        rc = rule_loader_classification(l, "fuzz", text, size - 1);
        rc |= rule_loader_rules(l, "one", one, sizeof one - 1);
    } else {
        rc = rule_loader_rules(l, "fuzz", text, size - 1);
    }
    if (rc == SK_ENOMEM || rule_loader_finish(l, &set) != SK_OK) {
        if (rc == SK_ENOMEM)
            rule_loader_free(l);
        return 0;
    }
    const struct sk_addr a = {.b = {10, 1}};
    for (uint32_t i = 0; i < set->n; i++)
        if (rule_addr_match(set->rules[i]->src, &a) && rule_port_match(set->rules[i]->dport, 80) && !set->rules[i]->raw)
            abort();
    rule_set_free(set);
    return 0;
}
