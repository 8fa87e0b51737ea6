"""Attribute names of OpenTelemetry's GenAI semantic conventions, of OpenInference and of OpenLLMetry, as constants.

Promise: the one place where such a name is spelled, with the version it comes from. Must never: decide anything.

Sources: ``open-telemetry/semantic-conventions-genai``, docs/gen-ai at 002c8a6 (2026, status "development"; the old
names are those of semantic-conventions 1.36); ``openinference-semantic-conventions`` 0.1.42; OpenLLMetry's
``opentelemetry-semantic-conventions-ai`` 0.5.1. What those attributes mean is said there.
"""

from __future__ import annotations

# -- OpenTelemetry GenAI -------------------------------------------------------------------------------------------
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
SYSTEM_OLD = "gen_ai.system"
REQUEST = "gen_ai.request."
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FIRST_CHUNK_SECONDS = "gen_ai.response.time_to_first_chunk"
CONVERSATION = "gen_ai.conversation.id"
AGENT_NAME = "gen_ai.agent.name"
WORKFLOW_NAME = "gen_ai.workflow.name"
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
DATA_SOURCE = "gen_ai.data_source.id"
QUERY_TEXT = "gen_ai.retrieval.query.text"
RETRIEVED = "gen_ai.retrieval.documents"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
ERROR_TYPE = "error.type"
EVALUATION_EVENT = "gen_ai.evaluation.result"
EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_SCORE = "gen_ai.evaluation.score.value"
EVALUATION_LABEL = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION = "gen_ai.evaluation.explanation"

# -- OpenInference -------------------------------------------------------------------------------------------------
OI_KIND = "openinference.span.kind"
OI_INPUT = "input.value"
OI_INPUT_MIME = "input.mime_type"
OI_OUTPUT = "output.value"
OI_OUTPUT_MIME = "output.mime_type"
OI_MODEL = "llm.model_name"
OI_PARAMS = "llm.invocation_parameters"
OI_INPUT_MESSAGES = "llm.input_messages"
OI_OUTPUT_MESSAGES = "llm.output_messages"
OI_TOOLS = "llm.tools"
OI_PROMPT_TOKENS = "llm.token_count.prompt"
OI_COMPLETION_TOKENS = "llm.token_count.completion"
OI_TOTAL_TOKENS = "llm.token_count.total"
OI_CACHED_TOKENS = "llm.token_count.prompt_details.cache_read"
OI_REASONING_TOKENS = "llm.token_count.completion_details.reasoning"
OI_COST = "llm.cost.total"
OI_EMBEDDING_MODEL = "embedding.model_name"
OI_DOCUMENTS = "retrieval.documents"
OI_TOOL_NAME = "tool.name"
OI_AGENT_NAME = "agent.name"
OI_METADATA = "metadata"
OI_TAGS = "tag.tags"
SESSION = "session.id"
USER = "user.id"

# -- OpenLLMetry (traceloop) ---------------------------------------------------------------------------------------
TL_KIND = "traceloop.span.kind"
TL_NAME = "traceloop.entity.name"
TL_INPUT = "traceloop.entity.input"
TL_OUTPUT = "traceloop.entity.output"
TL_REQUEST_TYPE = "llm.request.type"
TL_PROMPT = "gen_ai.prompt"
TL_COMPLETION = "gen_ai.completion"
TL_PROPERTIES = "traceloop.association.properties."

# -- exceptions, resources -----------------------------------------------------------------------------------------
EXCEPTION_EVENT = "exception"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACK = "exception.stacktrace"
SERVICE_NAME = "service.name"

# -- ours: what no convention has a place for ----------------------------------------------------------------------
OURS = "spanloom."
RUN_ID = "spanloom.run_id"
PARENT_ID = "spanloom.parent_run_id"
ROOT_ID = "spanloom.root_run_id"
RUN_TYPE = "spanloom.run_type"
NAME = "spanloom.name"
STATUS = "spanloom.status"
CUSTOMER = "spanloom.customer"
KEY = "spanloom.key"
USER_PROPS = "spanloom.user_props"
PARAMS = "spanloom.params"
EXTRA = "spanloom.extra"
TEMPLATE = "spanloom.template_version_id"
TOTAL_TOKENS = "spanloom.total_tokens"
FIRST_ITEM_AT = "spanloom.first_item_at"
ITEMS = "spanloom.items"
RUNTIME = "spanloom.runtime"
INPUT_UNKNOWN = "spanloom.input_unknown"
CHAT_MESSAGES = "spanloom.chat_messages"
EVENT_ID = "spanloom.event_id"
FEEDBACK = "spanloom.feedback"
OVERWRITE = "spanloom.overwrite"

# -- run types, both ways ------------------------------------------------------------------------------------------
OPERATION_OF_TYPE = {
    "llm": "chat",
    "embed": "embeddings",
    "tool": "execute_tool",
    "agent": "invoke_agent",
    "chain": "invoke_workflow",
    "chat": "invoke_workflow",
    "retriever": "retrieval",
}
OI_KIND_OF_TYPE = {
    "llm": "LLM",
    "embed": "EMBEDDING",
    "tool": "TOOL",
    "agent": "AGENT",
    "chain": "CHAIN",
    "chat": "CHAIN",
    "retriever": "RETRIEVER",
}
TYPE_OF_OI_KIND = {
    "LLM": "llm", "EMBEDDING": "embed", "TOOL": "tool", "AGENT": "agent", "CHAIN": "chain", "RETRIEVER": "retriever",
    "RERANKER": "retriever", "GUARDRAIL": "chain", "EVALUATOR": "chain", "PROMPT": "chain", "DECISION": "chain",
}  # fmt: skip
TYPE_OF_OPERATION = {
    "chat": "llm", "generate_content": "llm", "text_completion": "llm", "embeddings": "embed", "execute_tool": "tool",
    "invoke_agent": "agent", "create_agent": "agent", "invoke_workflow": "chain", "plan": "chain",
    "retrieval": "retriever", "search_memory": "retriever",
}  # fmt: skip
TYPE_OF_TL = {
    "workflow": "chain", "task": "chain", "agent": "agent", "tool": "tool",
    "chat": "llm", "completion": "llm", "embedding": "embed", "rerank": "retriever",
}  # fmt: skip

# Counts by the names that any of the conventions, old or new, give them; the first that is there counts.
USAGE_NAMES: dict[str, tuple[str, ...]] = {
    "prompt": (INPUT_TOKENS, OI_PROMPT_TOKENS, "gen_ai.usage.prompt_tokens"),
    "completion": (OUTPUT_TOKENS, OI_COMPLETION_TOKENS, "gen_ai.usage.completion_tokens"),
    "prompt_cached": (CACHED_TOKENS, OI_CACHED_TOKENS, "gen_ai.usage.cache_read_input_tokens"),
    "reasoning": (REASONING_TOKENS, OI_REASONING_TOKENS, "gen_ai.usage.reasoning_tokens", "llm.usage.reasoning_tokens"),
    "total": (TOTAL_TOKENS, OI_TOTAL_TOKENS, "gen_ai.usage.total_tokens", "llm.usage.total_tokens"),
}
# A parameter as users pass it -> its name among gen_ai.request.*
REQUEST_PARAMS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_tokens",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty", "seed": "seed",
    "stop": "stop_sequences", "n": "choice.count", "stream": "stream",
}  # fmt: skip
