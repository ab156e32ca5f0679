// The chat backend as a Go program: net/http on both sides, a goroutine for each visitor.
//
//	usage: relay SOCKET UPSTREAM_URL KEY
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const systemPrompt = "Answer questions only related to digital marketing, otherwise, say I dont know"

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type upstreamRequest struct {
	Input struct {
		Messages [2]message `json:"messages"`
	} `json:"input"`
	Parameters struct {
		Incremental bool    `json:"incremental_output,omitempty"`
		Temperature float64 `json:"temperature"`
	} `json:"parameters"`
	Debug struct{} `json:"debug"`
}

type usage struct {
	InputTokens  int `json:"input_tokens"`
	OutputTokens int `json:"output_tokens"`
}

type upstreamReply struct {
	Output struct {
		SessionID    string `json:"session_id"`
		FinishReason string `json:"finish_reason"`
		Text         string `json:"text"`
	} `json:"output"`
	Usage struct {
		Models []usage `json:"models"`
	} `json:"usage"`
}

func (reply *upstreamReply) usage() *usage {
	if len(reply.Usage.Models) == 0 {
		return &usage{}
	}
	return &reply.Usage.Models[0]
}

type textEvent struct {
	Success   bool   `json:"success"`
	Content   string `json:"content"`
	Finished  bool   `json:"finished"`
	SessionID string `json:"session_id"`
}

type lastEvent struct {
	Success   bool   `json:"success"`
	Finished  bool   `json:"finished"`
	Message   string `json:"message"`
	SessionID string `json:"session_id"`
	Usage     *usage `json:"usage"`
	RequestID string `json:"request_id"`
}

type wholeAnswer struct {
	Success   bool   `json:"success"`
	Message   string `json:"message"`
	Result    string `json:"result"`
	Response  string `json:"response"`
	SessionID string `json:"session_id"`
	Usage     *usage `json:"usage"`
	RequestID string `json:"request_id"`
}

type failure struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
	Code    string `json:"code"`
	Result  string `json:"result"`
}

type relay struct {
	url    string
	key    string
	client http.Client
}

func (relay *relay) ask(r *http.Request, prompt string, streamed bool) (*http.Response, error) {
	var body upstreamRequest
	body.Input.Messages = [2]message{{"system", systemPrompt}, {"user", prompt}}
	body.Parameters.Incremental = streamed
	body.Parameters.Temperature = 0.7
	encoded, err := json.Marshal(&body)
	if err != nil {
		return nil, err
	}
	// The visitor leaves: the context is cancelled, and with it the upstream request.
	request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, relay.url, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+relay.key)
	request.Header.Set("Content-Type", "application/json")
	if streamed {
		request.Header.Set("X-DashScope-SSE", "enable")
	}
	return relay.client.Do(request)
}

// What an answer needs while it is under way, kept for the next one.
type workspace struct {
	reader *bufio.Reader
	out    bytes.Buffer
	json   *json.Encoder
}

var workspaces = sync.Pool{New: func() any {
	space := &workspace{reader: bufio.NewReaderSize(nil, 4096)}
	space.json = json.NewEncoder(&space.out)
	space.json.SetEscapeHTML(false)
	return space
}}

func (space *workspace) append(event any) error {
	space.out.WriteString("data: ")
	if err := space.json.Encode(event); err != nil { // ends with a line feed
		return err
	}
	return space.out.WriteByte('\n')
}

var (
	dataPrefix = []byte("data:")
	endOfEvent = []byte("\n\n")
)

// The line is valid until the next read.
func (space *workspace) readLine() ([]byte, error) {
	line, err := space.reader.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return line, err
	}
	start := append([]byte(nil), line...)
	rest, err := space.reader.ReadBytes('\n')
	return append(start, rest...), err
}

func (space *workspace) hasWholeEvent() bool {
	waiting, _ := space.reader.Peek(space.reader.Buffered())
	return bytes.Contains(waiting, endOfEvent)
}

func (relay *relay) stream(w http.ResponseWriter, r *http.Request, prompt string) {
	response, err := relay.ask(r, prompt, true)
	if err != nil {
		fail(w, http.StatusBadGateway, "Connection failed", "upstream_error")
		return
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		fail(w, http.StatusBadGateway, "API Error", "upstream_error")
		return
	}
	space := workspaces.Get().(*workspace)
	defer workspaces.Put(space)
	space.reader.Reset(response.Body)
	space.out.Reset()
	flusher := w.(http.Flusher)

	header := w.Header()
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	header.Set("Cache-Control", "no-cache, no-transform")
	header.Set("Access-Control-Allow-Origin", "*")

	text := textEvent{Success: true}
	var reply upstreamReply
	for {
		line, err := space.readLine()
		if err != nil {
			return
		}
		if bytes.HasPrefix(line, dataPrefix) {
			reply.Output.Text = ""
			if json.Unmarshal(line[len(dataPrefix):], &reply) != nil {
				return
			}
			if reply.Output.Text != "" {
				text.Content = reply.Output.Text
				text.SessionID = reply.Output.SessionID
				if space.append(&text) != nil {
					return
				}
			}
			if reply.Output.FinishReason == "stop" {
				last := lastEvent{true, true, "Stream completed", reply.Output.SessionID, reply.usage(),
					r.Header.Get("X-Request-Id")}
				if space.append(&last) != nil {
					return
				}
			}
		}
		// Events that arrived together leave together.
		if space.out.Len() > 0 && !space.hasWholeEvent() {
			if _, err := w.Write(space.out.Bytes()); err != nil {
				return
			}
			flusher.Flush()
			space.out.Reset()
		}
	}
}

func (relay *relay) whole(w http.ResponseWriter, r *http.Request, prompt string) {
	response, err := relay.ask(r, prompt, false)
	if err != nil {
		fail(w, http.StatusBadGateway, "Connection failed", "upstream_error")
		return
	}
	defer response.Body.Close()
	var reply upstreamReply
	if response.StatusCode != http.StatusOK || json.NewDecoder(response.Body).Decode(&reply) != nil {
		fail(w, http.StatusBadGateway, "API Error", "upstream_error")
		return
	}
	answer(w, http.StatusOK, &wholeAnswer{true, "Response Generated", reply.Output.Text, reply.Output.Text,
		reply.Output.SessionID, reply.usage(), r.Header.Get("X-Request-Id")})
}

func (relay *relay) chat(handle func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			LastPrompt string `json:"last_prompt"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&request); err != nil {
			fail(w, http.StatusBadRequest, "Invalid JSON", "invalid_request")
		} else if strings.TrimSpace(request.LastPrompt) == "" {
			fail(w, http.StatusBadRequest, "last_prompt is required", "invalid_request")
		} else {
			handle(w, r, request.LastPrompt)
		}
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Access-Control-Allow-Origin", "*")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.Encode(body)
}

func fail(w http.ResponseWriter, status int, message, code string) {
	answer(w, status, &failure{Message: message, Code: code})
}

var health = map[string]any{"status": "healthy", "service": "Bailian-chatbot-backend", "version": "0"}

var config = map[string]any{"botStatus": 0, "StartUpMessage": "Hi, How are you?", "fontSize": "16",
	"userAvatarURL": "", "botImageURL": "",
	"commonButtons": []map[string]string{{"buttonText": "I want a Discount", "buttonPrompt": "I want a discount"}}}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: relay SOCKET UPSTREAM_URL KEY")
	}
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	relay := &relay{url: os.Args[2], key: os.Args[3], client: http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     60 * time.Second,
		TLSClientConfig:     &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(0)},
	}}}
	mux := http.NewServeMux()
	mux.HandleFunc("/myapi/v1/chat-bot/stream", relay.chat(relay.stream))
	mux.HandleFunc("/myapi/v1/chat-bot", relay.chat(relay.whole))
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, health) })
	mux.HandleFunc("/myapi/v1/chat-bot-config", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, config)
	})
	log.Fatal(http.Serve(listener, mux))
}
