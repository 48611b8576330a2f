/** The messages and the stubs of the contract. */

export * from "./vllm_adapter/v1/chat.js";
export * from "./vllm_adapter/v1/classification.js";
export * from "./vllm_adapter/v1/embedding.js";
export * from "./vllm_adapter/v1/finish_reason.js";
export * from "./vllm_adapter/v1/generation.js";
export * from "./vllm_adapter/v1/model.js";
export * from "./vllm_adapter/v1/ranking.js";
export * from "./vllm_adapter/v1/token_ids.js";
export * from "./vllm_adapter/v1/tokenization.js";
export * from "./vllm_adapter/v1/transcription.js";
export * from "./vllm_adapter/v1/truncation.js";
export * from "./vllm_adapter/v1/usage.js";
