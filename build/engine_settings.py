"""What can be set for each engine, in an entry's `[models.settings]`; every setting is a template variable."""

from __future__ import annotations

Setting = str | int | float | bool

# engine -> setting -> default. The default's type is the setting's type.
ENGINE_SETTINGS: dict[str, dict[str, Setting]] = {
    "llama_cpp": {
        "slots": 4,  # answers at the same time, each with the whole context_length
        "threads": 0,  # 0: as many as the machine has cores
        "batch_size": 128,  # prompt tokens computed in one step: other answers wait for it
        "max_queue_size": 256,  # requests that wait for a slot; more are refused
    },
    "onnxruntime": {
        "provider": "cpu",  # cpu, or cuda: needs onnxruntime-gpu where Triton runs
        "threads": 0,  # 0: as many as the machine has cores
        "max_batch_size": 64,
        "max_queue_size": 512,  # requests that wait; more are refused
        "max_queue_delay_microseconds": 500,  # how long a batch waits for company
    },
    # A plan of build/embedding_engine.py, through Triton's own TensorRT backend.
    "tensorrt": {
        "max_batch_size": 64,
        "max_queue_size": 512,
        "max_queue_delay_microseconds": 500,
    },
    # Names and defaults as in TensorRT-LLM's docs/model_config.md; empty: unset.
    "tensorrt_llm": {
        "max_batch_size": 64,
        "max_queue_size": 256,
        "max_queue_delay_microseconds": 0,
        "kv_cache_free_gpu_mem_fraction": 0.9,
        "batch_scheduler_policy": "guaranteed_no_evict",
        "enable_kv_cache_reuse": True,
        "enable_chunked_context": False,
        "logits_datatype": "TYPE_FP32",
        "gpu_device_ids": "",
        "participant_ids": "",
        "max_tokens_in_paged_kv_cache": "",
        "max_attention_window_size": "",
        "sink_token_length": "",
        "kv_cache_host_memory_bytes": "",
        "gpu_weights_percent": "",
        "multi_block_mode": "",
        "cuda_graph_mode": "",
        "cuda_graph_cache_size": "",
        "enable_context_fmha_fp32_acc": "",
        "decoding_mode": "",
        "speculative_decoding_fast_logits": "",
        "lora_cache_optimal_adapter_size": "",
        "lora_cache_max_adapter_size": "",
        "lora_cache_gpu_memory_fraction": "",
        "lora_cache_host_memory_bytes": "",
        "lora_prefetch_dir": "",
        "iter_stats_max_iterations": "",
        "request_stats_max_iterations": "",
        # Of the draft model, if there is one.
        "draft_gpu_device_ids": "",  # empty: those of the model itself
        "draft_kv_cache_free_gpu_mem_fraction": 0.2,
    },
    # Names as in TensorRT-LLM's LLM API (LlmArgs, KvCacheConfig).
    "tensorrt_llm_api": {
        "max_queue_size": 256,  # requests beyond max_batch_size that are taken; more are refused
        "tensor_parallel_size": 0,  # 0, here and below: as the entry's `build` says
        "pipeline_parallel_size": 0,
        "max_batch_size": 0,
        "max_num_tokens": 0,
        "dtype": "auto",
        "kv_cache_dtype": "",
        "free_gpu_memory_fraction": 0.9,
        "enable_block_reuse": True,
        "host_cache_size": 0,  # bytes of the KV cache's second level, in the host's memory
        "guided_decoding_backend": "xgrammar",
        "sampler_type": "",  # TRTLLMSampler: for penalties and bad words in release 1.2
        "trust_remote_code": False,
        "llm_args": "",  # JSON: further arguments of LLM, which go over all others
    },
}

# Defaults of a compiled engine that shares its GPUs with that of its draft model: each takes its fraction of the memory
# that it finds when it loads.
BESIDE_A_DRAFT: dict[str, Setting] = {"kv_cache_free_gpu_mem_fraction": 0.6}

GPU_ENGINES = ("tensorrt_llm", "tensorrt_llm_api")  # served from a checkpoint that build/llm_engine.py has built

ENGINES_OF_KIND: dict[str, tuple[str, ...]] = {
    "chat": ("llama_cpp", *GPU_ENGINES),
    "embedding": ("onnxruntime", "tensorrt"),
    "reranker": ("onnxruntime",),
}
