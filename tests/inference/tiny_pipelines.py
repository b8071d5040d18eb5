"""Diffusers pipelines as the hub lays them out, with random weights and a few kilobytes each.

They are made here, without a network and in seconds, and draw noise; but every class in them
is the one that the real model has. `python -m tests.inference.tiny_pipelines FOLDER` makes all.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
CHAT = (
    "{% for m in messages %}<|im_start|>{{m.role}}\n{{m.content}}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def flux(guidance_embeds: bool) -> DiffusionPipeline:
    """FLUX.1: dev has guidance embeddings, schnell has none."""
    clip = clip_tokenizer()
    t5 = t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        text_encoder=clip_encoder(clip),
        tokenizer=clip,
        text_encoder_2=T5EncoderModel(T5Config(**t5_sizes(t5))),
        tokenizer_2=t5,
        transformer=transformer,
        vae=flow_autoencoder(4, scaling_factor=1.5035, shift_factor=0.0609),
    )


def sdxl() -> DiffusionPipeline:
    first, second = clip_tokenizer(), clip_tokenizer()
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=6 * 8 + 32,
        cross_attention_dim=64,
        norm_num_groups=8,
    )
    return StableDiffusionXLPipeline(
        vae=autoencoder(4),
        text_encoder=clip_encoder(first),
        text_encoder_2=clip_encoder(second, CLIPTextModelWithProjection),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
    )


def emoji() -> DiffusionPipeline:
    """A StableDiffusionPipeline shaped as the emoji model: 64 pixels, 8x8x16 latents."""
    tokenizer = clip_tokenizer(length=24)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=clip_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            clip_sample=False,
            steps_offset=1,
            timestep_spacing="trailing",
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def zimage() -> DiffusionPipeline:
    tokenizer = qwen_tokenizer()
    encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=1024,
        )
    )
    transformer = ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 64, 64],
    )
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=flow_autoencoder(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=encoder,
        tokenizer=tokenizer,
        transformer=transformer,
    )


def wan() -> DiffusionPipeline:
    return WanPipeline(transformer=wan_transformer(16), **wan_parts())


def wan_from_image() -> DiffusionPipeline:
    """Wan 2.2's kind of image to video: it sees the first frame as latents beside a mask."""
    return WanImageToVideoPipeline(
        transformer=wan_transformer(36), image_encoder=None, image_processor=None, **wan_parts()
    )


def wan_transformer(channels: int) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=channels,
        out_channels=16,
        text_dim=32,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )


def wan_parts() -> dict[str, Any]:
    tokenizer = t5_tokenizer()
    return {
        "vae": AutoencoderKLWan(
            base_dim=3,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        "scheduler": UniPCMultistepScheduler(
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            num_train_timesteps=1000,
            flow_shift=3.0,
        ),
        "text_encoder": UMT5EncoderModel(UMT5Config(**t5_sizes(tokenizer))),
        "tokenizer": tokenizer,
    }


def clip_tokenizer(length: int = 77) -> CLIPTokenizer:
    """Every byte is a token."""
    endings = [f"{letter}</w>" for letter in LETTERS]
    words = [*LETTERS, *endings, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=length)


def t5_tokenizer() -> T5Tokenizer:
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(chr(code), -3.0) for code in range(33, 127)]
    return T5Tokenizer(vocab=[*specials, *letters], extra_ids=0, model_max_length=512)


def qwen_tokenizer() -> Qwen2Tokenizer:
    words = [*LETTERS, "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], eos_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = CHAT
    return tokenizer


def clip_encoder(tokenizer: CLIPTokenizer, kind: type = CLIPTextModel) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=32,
            hidden_act="gelu",
        )
    )


def t5_sizes(tokenizer: T5Tokenizer) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 37,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
    }


def autoencoder(channels: int, **more: Any) -> AutoencoderKL:
    """A pixel of its latents is 2x2 pixels of the picture."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=32,
        **more,
    )


def flow_autoencoder(channels: int, **more: Any) -> AutoencoderKL:
    return autoencoder(channels, use_quant_conv=False, use_post_quant_conv=False, **more)


MAKERS: dict[str, Callable[[], DiffusionPipeline]] = {
    "flux-schnell": lambda: flux(guidance_embeds=False),
    "flux-dev": lambda: flux(guidance_embeds=True),
    "sdxl": sdxl,
    "zimage": zimage,
    "emoji-64": emoji,
    "wan-t2v": wan,
    "wan-i2v": wan_from_image,
}


def make(name: str, folder: Path) -> Path:
    """Save the pipeline `name` under `folder`, always the same one; its own folder is returned."""
    torch.manual_seed(0)
    place = folder / name
    MAKERS[name]().save_pretrained(place, safe_serialization=True)
    return place


if __name__ == "__main__":
    for each in MAKERS:
        print(make(each, Path(sys.argv[1])))
