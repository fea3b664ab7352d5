#include "event_types.h"

#include <stddef.h>
#include "event/event.h"

/* manager.forward is a list of words that stand in the order of enum event_type (conf/table.c). */
_Static_assert(EVENT_ALERT == 0 && EVENT_DROP == 1 && EVENT_HTTP == 2 && EVENT_FLOW == 3 && EVENT_STATS == 4 &&
                   EVENT_ANOMALY == 5 && EVENT_FILEINFO == 6 && EVENT_BLOCK == 7 && EVENT_FLOOD == 8,
               "the words of manager.forward");

uint32_t event_types_of_file(const struct conf *c)
{
    static const struct {
        uint32_t conf, type;
    } map[] = {
        {CONF_EVE_ALERT, EVENT_ALERT},       {CONF_EVE_HTTP, EVENT_HTTP},   {CONF_EVE_FLOW, EVENT_FLOW},
        {CONF_EVE_DROP, EVENT_DROP},         {CONF_EVE_STATS, EVENT_STATS}, {CONF_EVE_ANOMALY, EVENT_ANOMALY},
        {CONF_EVE_FILEINFO, EVENT_FILEINFO}, {CONF_EVE_ALERT, EVENT_FLOOD},
    };
    uint32_t mask = c->eve.enabled ? 1u << EVENT_BLOCK : 0;
    for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
        if (c->eve.enabled && (c->eve.types & map[i].conf))
            mask |= 1u << map[i].type;
    return mask;
}

uint32_t event_types_of_manager(const struct conf *c)
{
    return c->manager.enabled != CONF_NO ? c->manager.forward : 0;
}
