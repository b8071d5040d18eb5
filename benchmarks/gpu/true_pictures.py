"""Pipelines of the seed cards in their true sizes, with random weights (see true_size)."""

from collections.abc import Callable
from typing import Any

import torch
import transformers

from benchmarks.gpu.true_size import made
from tests.inference import tiny_pipelines


def clip(device: str, tokenizer: Any, big: bool) -> Any:
    sizes = (1280, 32, 20, 5120, "gelu") if big else (768, 12, 12, 3072, "quick_gelu")
    hidden, layers, heads, inner, act = sizes
    config = transformers.CLIPTextConfig(
        vocab_size=49408, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=inner, hidden_act=act, projection_dim=hidden,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    kind = transformers.CLIPTextModelWithProjection if big else transformers.CLIPTextModel
    return made(lambda: kind(config), device)


def t5(device: str, *, multilingual: bool) -> Any:
    sizes: dict[str, Any] = {
        "d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_heads": 64, "num_layers": 24,
        "feed_forward_proj": "gated-gelu", "vocab_size": 256384 if multilingual else 32128,
    }  # fmt: skip
    if multilingual:
        config = transformers.UMT5Config(**sizes)
        return made(lambda: transformers.UMT5EncoderModel(config), device)
    return made(lambda: transformers.T5EncoderModel(transformers.T5Config(**sizes)), device)


def autoencoder(device: str, channels: int, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    def make() -> Any:
        return AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            sample_size=1024, **more,
        )  # fmt: skip

    return made(make, device)


FLOW = {"use_quant_conv": False, "use_post_quant_conv": False, "shift_factor": 0.1159}


def sdxl(device: str) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    first, second = tiny_pipelines.clip_tokenizer(), tiny_pipelines.clip_tokenizer()

    def unet() -> Any:
        return UNet2DConditionModel(
            sample_size=128, block_out_channels=(320, 640, 1280), layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(5, 10, 20), transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=2048, use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        )  # fmt: skip

    return StableDiffusionXLPipeline(
        vae=autoencoder(device, 4), text_encoder=clip(device, first, big=False),
        text_encoder_2=clip(device, second, big=True), tokenizer=first, tokenizer_2=second,
        unet=made(unet, device),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            timestep_spacing="leading", steps_offset=1,
        ),
    )  # fmt: skip


def flux(device: str) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    tokenizer = tiny_pipelines.clip_tokenizer()

    def transformer() -> Any:
        return FluxTransformer2DModel(
            patch_size=1, in_channels=64, num_layers=19, num_single_layers=38,
            attention_head_dim=128, num_attention_heads=24, joint_attention_dim=4096,
            pooled_projection_dim=768, guidance_embeds=False, axes_dims_rope=(16, 56, 56),
        )  # fmt: skip

    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        text_encoder=clip(device, tokenizer, big=False), tokenizer=tokenizer,
        text_encoder_2=t5(device, multilingual=False), tokenizer_2=tiny_pipelines.t5_tokenizer(),
        transformer=made(transformer, device),
        vae=autoencoder(device, 16, scaling_factor=0.3611, **FLOW),
    )  # fmt: skip


def zimage(device: str) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

    def transformer() -> Any:
        return ZImageTransformer2DModel(
            all_patch_size=(2,), all_f_patch_size=(1,), in_channels=16, dim=3840, n_layers=30,
            n_refiner_layers=2, n_heads=30, n_kv_heads=30, cap_feat_dim=2560,
            axes_dims=[32, 48, 48], axes_lens=[1536, 512, 512],
        )  # fmt: skip

    config = transformers.Qwen3Config(
        hidden_size=2560, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8,
        head_dim=128, intermediate_size=9728, vocab_size=151936, max_position_embeddings=40960,
    )  # fmt: skip
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(device, 16, scaling_factor=0.3611, **FLOW),
        text_encoder=made(lambda: transformers.Qwen3Model(config), device),
        tokenizer=tiny_pipelines.qwen_tokenizer(), transformer=made(transformer, device),
    )  # fmt: skip


def wan(device: str) -> Any:
    from diffusers import (
        AutoencoderKLWan,
        UniPCMultistepScheduler,
        WanPipeline,
        WanTransformer3DModel,
    )

    def transformer() -> Any:
        return WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=12, attention_head_dim=128, in_channels=16,
            out_channels=16, text_dim=4096, freq_dim=256, ffn_dim=8960, num_layers=30,
            cross_attn_norm=True, qk_norm="rms_norm_across_heads", rope_max_seq_len=1024,
        )  # fmt: skip

    def vae() -> Any:
        return AutoencoderKLWan(
            base_dim=96, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2,
            temperal_downsample=[False, True, True],
        )  # fmt: skip

    return WanPipeline(
        # The card keeps it in float32.
        vae=made(vae, device, torch.float32), text_encoder=t5(device, multilingual=True),
        tokenizer=tiny_pipelines.t5_tokenizer(), transformer=made(transformer, device),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000,
            flow_shift=3.0,
        ),
    )  # fmt: skip


PICTURES: dict[str, Callable[[str], Any]] = {
    "sdxl": sdxl, "zimage": zimage, "wan-t2v": wan, "flux-schnell": flux,
}  # fmt: skip
