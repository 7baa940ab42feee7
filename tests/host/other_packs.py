"""Samplers and wrappers of the kinds that other packs bring, of our own making."""

import math

import torch


def _lambda(sigma):
    return -math.log(max(float(sigma), 1e-10))


def _phi_1(h):
    return math.expm1(-h) / -h


def exponential(stages):
    """An exponential integrator of one, two or three stages for each step (c = 1/2, and 2/3), Euler's at the end."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        def ask(x, sigma):
            return model(x, sigma * x.new_ones([len(x)]), **extra_args)

        for i in range(len(sigmas) - 1):
            start = ask(x, sigmas[i])
            if sigmas[i + 1] == 0:
                x = start
                continue
            h = _lambda(sigmas[i + 1]) - _lambda(sigmas[i])
            last, share = start, 0.0
            for share in (0.5, 2 / 3)[: stages - 1]:
                inner = x * math.exp(-share * h) - math.expm1(-share * h) * last
                last = ask(inner, sigmas[i] * math.exp(-share * h))
            slope = 0.0 if stages == 1 else (1 - _phi_1(h)) / (share * h)
            whole = h * _phi_1(h)
            x = x * math.exp(-h) + (whole - h * slope) * start + h * slope * last
        return x

    return sample


def implicit(iterations):
    """The implicit midpoint rule: the middle is asked again and again, from Euler's half step on."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for i in range(len(sigmas) - 1):
            middle = (sigmas[i] + sigmas[i + 1]) / 2
            slope = (x - model(x, sigmas[i] * x.new_ones([len(x)]), **extra_args)) / sigmas[i]
            for _ in range(iterations):
                inner = x + (middle - sigmas[i]) * slope
                slope = (inner - model(inner, middle * x.new_ones([len(x)]), **extra_args)) / middle
            x = x + (sigmas[i + 1] - sigmas[i]) * slope
        return x

    return sample


def corrected(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """A predictor at the end of the step and a corrector in its middle: the noise level goes up and down again."""
    for i in range(len(sigmas) - 1):
        end, start = sigmas[i + 1], sigmas[i]
        slope = (x - model(x, start * x.new_ones([len(x)]), **extra_args)) / start
        if end > 0:
            there = x + (end - start) * slope
            far = (there - model(there, end * x.new_ones([len(x)]), **extra_args)) / end
            middle = (start + end) / 2
            inner = x + (middle - start) * (3 * slope + far) / 4
            half = (inner - model(inner, middle * x.new_ones([len(x)]), **extra_args)) / middle
            slope = (slope + 4 * half + far) / 6
        x = x + (end - start) * slope
    return x


def noisy(sampler, share=0.5):
    """Noise of the sampler's own generator after each step, and so much less of the latent's."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        generator = torch.Generator().manual_seed(5)
        for i in range(len(sigmas) - 1):
            down = sigmas[i + 1] * (1 - share**2) ** 0.5
            x = sampler(model, x, torch.stack([sigmas[i], down]), extra_args=extra_args)
            x = x + torch.randn(x.shape, generator=generator) * share * sigmas[i + 1]
        return x

    return sample


def unrehearsed(sampler):
    """The same, by a sampler that looks at what only a run has."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        assert model.inner_model.conds["positive"]
        return sampler(model, x, sigmas, extra_args=extra_args, callback=callback, disable=disable)

    return sample


def shifted(sampler, amount, options=None):
    """Tells the model another noise level than the sampler's: by a smooth bump over the run of up to `amount`."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        def told(x, sigma, **kwargs):
            place = float((sigmas[:-1] >= sigma.max()).sum() - 1) / max(len(sigmas) - 2, 1)
            return model(x, sigma * (1 + amount * math.sin(math.pi * place) ** 2), **kwargs)

        told.inner_model = model.inner_model
        return sampler(told, x, sigmas, extra_args=extra_args, callback=callback, disable=disable, **(options or {}))

    return sample


def shifted_beside(ksampler, amount):
    """A sampler object beside whose function the noise level is shifted: by `amount` from the second step on."""
    import comfy.samplers

    class Between(comfy.samplers.KSAMPLER):
        def sample(self, *args, **kwargs):
            function = self.sampler_function

            def beside(model, x, sigmas, **named):
                def told(x, sigma, **inner):
                    return model(x, sigma * (1 + amount if sigma.max() < sigmas[0] * 0.999 else 1.0), **inner)

                told.inner_model = model.inner_model
                return function(told, x, sigmas, **named)

            return comfy.samplers.KSAMPLER.sample(comfy.samplers.KSAMPLER(beside, self.extra_options), *args, **kwargs)

    return Between(ksampler.sampler_function, ksampler.extra_options)


class AskingAgain:
    """Between sampler and model: the latent is changed and the model asked again before it answers.

    `noise` is what each time is added, in units of sigma; `change` is made of the latent that comes in.
    """

    def __init__(self, model, times, noise):
        self.inner_model = model.inner_model
        self._model, self._times, self._noise = model, times, noise
        self._generator = torch.Generator().manual_seed(9)

    def __call__(self, x, sigma, **kwargs):
        inner = x
        for _ in range(self._times):
            denoised = self._model(inner, sigma, **kwargs)
            noise = torch.randn(x.shape, generator=self._generator)
            level = sigma.reshape(-1, *[1] * (x.ndim - 1))
            # Towards the denoised latent, and back up to the noise level.
            kept = (1 - self._noise**2) ** 0.5
            inner = denoised + kept * (inner - denoised) + self._noise * level * noise
        x.copy_(inner)
        return self._model(inner, sigma, **kwargs)


def asking_again(ksampler, times=2, noise=0.3):
    """A sampler object whose model is asked again by something that the sampler function knows nothing of."""
    import comfy.samplers

    class Between(comfy.samplers.KSAMPLER):
        def sample(self, *args, **kwargs):
            function = self.sampler_function
            inner = comfy.samplers.KSAMPLER(
                lambda model, *a, **k: function(AskingAgain(model, times, noise), *a, **k), self.extra_options
            )
            return comfy.samplers.KSAMPLER.sample(inner, *args, **kwargs)

    return Between(ksampler.sampler_function, ksampler.extra_options)


def blending(ksampler, steps, change):
    """A sampler object beside which something changes the latent at some steps, in place."""
    import comfy.samplers

    class Between(comfy.samplers.KSAMPLER):
        def sample(self, *args, **kwargs):
            function = self.sampler_function

            def beside(model, x, sigmas, callback=None, **named):
                evaluations = []

                class Changing:
                    inner_model = model.inner_model

                    def __call__(self, x, sigma, **inner):
                        evaluations.append(sigma)
                        if len(evaluations) - 1 in steps:
                            x.copy_(change(x))
                        return model(x, sigma, **inner)

                return function(Changing(), x, sigmas, callback=callback, **named)

            return comfy.samplers.KSAMPLER.sample(comfy.samplers.KSAMPLER(beside, self.extra_options), *args, **kwargs)

    return Between(ksampler.sampler_function, ksampler.extra_options)
