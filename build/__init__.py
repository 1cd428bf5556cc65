"""From published weights to a deployable Triton repository: catalog, fetch, tokenizers, graphs, assembly.

catalog.toml -> fetch -> gguf_tokenizer, embedding_graph, reranker_graph -> assemble
catalog.toml -> llm_engine, embedding_engine (for GPUs) -> assemble
"""
