package adapter

import (
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	v1 "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

// Fold makes of a stream's events the response that Generate gives for the same answer. Until the stream has ended, and
// without an error, the answer is incomplete.
type Fold struct {
	answer  v1.GenerateResponse
	choices map[int32]*parts
}

// parts are a choice, with its texts apart: to join them at each event would take the square of their length.
type parts struct {
	choice                      v1.Choice
	content, reasoning, refusal strings.Builder
	calls                       []*v1.ToolCall
	arguments                   []*strings.Builder
}

// NewFold is before the first event.
func NewFold() *Fold { return &Fold{choices: map[int32]*parts{}} }

// Push takes the next event. One that is not known is left out.
func (f *Fold) Push(event *v1.StreamGenerateResponse) {
	if event.GetSystemFingerprint() != "" {
		f.answer.SystemFingerprint = event.GetSystemFingerprint()
	}
	if event.GetExtensionsJson() != "" {
		f.answer.ExtensionsJson = event.GetExtensionsJson()
	}
	switch event := event.GetEvent().(type) {
	case *v1.StreamGenerateResponse_Started:
		started := event.Started
		f.answer.Id, f.answer.Model, f.answer.CreateTime = started.GetId(), started.GetModel(), started.GetCreateTime()
		f.answer.PromptTokenIds, f.answer.PromptText = started.GetPromptTokenIds(), started.GetPromptText()
	case *v1.StreamGenerateResponse_Content:
		f.parts(event.Content.GetChoiceIndex()).content.WriteString(event.Content.GetText())
	case *v1.StreamGenerateResponse_Reasoning:
		f.parts(event.Reasoning.GetChoiceIndex()).reasoning.WriteString(event.Reasoning.GetText())
	case *v1.StreamGenerateResponse_Refusal:
		f.parts(event.Refusal.GetChoiceIndex()).refusal.WriteString(event.Refusal.GetText())
	case *v1.StreamGenerateResponse_ToolCall:
		f.parts(event.ToolCall.GetChoiceIndex()).call(event.ToolCall)
	case *v1.StreamGenerateResponse_Tokens:
		choice := &f.parts(event.Tokens.GetChoiceIndex()).choice
		choice.Logprobs = append(choice.Logprobs, event.Tokens.GetLogprobs()...)
		choice.TokenIds = append(choice.TokenIds, event.Tokens.GetTokenIds()...)
		choice.PromptTokenIds = append(choice.PromptTokenIds, event.Tokens.GetPromptTokenIds()...)
	case *v1.StreamGenerateResponse_Finished:
		finish(&f.parts(event.Finished.GetChoiceIndex()).choice, event.Finished)
	case *v1.StreamGenerateResponse_Usage:
		f.answer.Usage = event.Usage
	}
}

// Response is the answer so far.
func (f *Fold) Response() *v1.GenerateResponse {
	response := proto.CloneOf(&f.answer)
	for _, parts := range f.choices {
		response.Choices = append(response.Choices, parts.whole())
	}
	slices.SortFunc(response.Choices, func(a, b *v1.Choice) int { return int(a.GetIndex() - b.GetIndex()) })
	return response
}

func (f *Fold) parts(index int32) *parts {
	if f.choices[index] == nil {
		f.choices[index] = &parts{choice: v1.Choice{Index: &index}}
	}
	return f.choices[index]
}

func (p *parts) call(delta *v1.ToolCallDelta) {
	// Calls appear in the order of their index, so that a new one is the next.
	if int(delta.GetToolIndex()) >= len(p.calls) {
		p.calls = append(p.calls, &v1.ToolCall{Id: delta.GetId(), Name: delta.GetName()})
		p.arguments = append(p.arguments, &strings.Builder{})
	}
	p.arguments[min(int(delta.GetToolIndex()), len(p.calls)-1)].WriteString(delta.GetArguments())
}

func (p *parts) whole() *v1.Choice {
	choice := proto.CloneOf(&p.choice)
	message := &v1.ChatMessage{Role: v1.Role_ROLE_ASSISTANT, Content: p.content.String(), Reasoning: p.reasoning.String()}
	for i, call := range p.calls {
		arguments := p.arguments[i].String()
		message.ToolCalls = append(message.ToolCalls, &v1.ToolCall{Id: call.Id, Name: call.Name, Arguments: arguments})
	}
	choice.Message, choice.Refusal = message, p.refusal.String()
	return choice
}

func finish(choice *v1.Choice, finished *v1.ChoiceFinished) {
	choice.FinishReason, choice.FinishReasonRaw = finished.GetFinishReason(), finished.GetFinishReasonRaw()
	choice.ExtensionsJson, choice.PromptIndex = finished.GetExtensionsJson(), finished.PromptIndex
	switch reason := finished.GetStopReason().(type) {
	case *v1.ChoiceFinished_StopString:
		choice.StopReason = &v1.Choice_StopString{StopString: reason.StopString}
	case *v1.ChoiceFinished_StopTokenId:
		choice.StopReason = &v1.Choice_StopTokenId{StopTokenId: reason.StopTokenId}
	}
}

// Collect reads a stream to its end, and gives the whole answer.
func Collect(events iter.Seq2[*v1.StreamGenerateResponse, error]) (*v1.GenerateResponse, error) {
	fold := NewFold()
	for event, err := range events {
		if err != nil {
			return nil, err
		}
		fold.Push(event)
	}
	return fold.Response(), nil
}
