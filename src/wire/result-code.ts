// What a GetHostResponse says about the pick. The list is closed: deployed callers know these four and no more.

/** The pick succeeded and the answer carries a host. Omitted on the wire, so an answer without a host never says it. */
export const RESULT_SUCCESS = 0;
/** Every host is shedding: do not call now. */
export const RESULT_OVERLOAD = 1;
/** The agent could not do its work. Ours always can, or does not answer. @public */
export const RESULT_SYSTEM_ERROR = 2;
/** No such module, or its route has not arrived yet; the wire does not tell these apart. */
export const RESULT_NO_MODULE = 3;
